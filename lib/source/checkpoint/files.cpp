// Open files, mappings and mounts of a checkpoint.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>

#include "lib/core/limits.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

std::string mount_options(std::uint32_t flags) {
  struct Flag {
    std::uint32_t bit;
    std::string_view name;
  };
  constexpr Flag kFlags[] = {{MS_NOSUID, "nosuid"},         {MS_NODEV, "nodev"},
                             {MS_NOEXEC, "noexec"},         {MS_NOATIME, "noatime"},
                             {MS_NODIRATIME, "nodiratime"}, {MS_RELATIME, "relatime"}};
  std::string text = (flags & MS_RDONLY) != 0 ? "ro" : "rw";
  for (const Flag& flag : kFlags) {
    if ((flags & flag.bit) != 0) text.append(",").append(flag.name);
  }
  return text;
}

// CRIU writes paths of mounts relative to the root: "./proc".
std::string absolute(std::string path) {
  if (path.starts_with('.')) path.erase(0, 1);
  return path.empty() ? "/" : path;
}

std::string memfd_path(const criu::MemfdInode& inode) {
  // Anonymous shared memory is of the same kind and called so.
  return inode.name == "/dev/zero" ? inode.name : "/memfd:" + inode.name;
}

}  // namespace

Hex device_of(std::uint32_t device) {
  constexpr std::uint32_t kMinorBits = 20;
  return Hex{std::uint64_t{device >> kMinorBits} << 32 | (device & ((1U << kMinorBits) - 1))};
}

const criu::FileEntry* CheckpointTasks::file(FileKind kind, std::uint32_t id) const {
  const auto found = files_.find({kind, id});
  return found == files_.end() ? nullptr : &found->second;
}

// A mapped or running file.
const criu::FileEntry* CheckpointTasks::open_file(std::uint32_t id) const {
  const criu::FileEntry* entry = file(FileKind::regular, id);
  return entry != nullptr ? entry : file(FileKind::memfd, id);
}

void CheckpointTasks::read_files(const Task& task) {
  const auto keep = [&](Result<criu::FileEntry> entry) -> Status {
    if (!entry) return std::move(entry).error();
    if (files_.size() >= kMaxCriuFiles)
      return Error{Errc::limit, "over " + std::to_string(kMaxCriuFiles) + " open files"};
    const std::size_t watches = entry->detail == nullptr ? 0 : entry->detail->watches.size();
    if (watches > watch_room_)
      return Error{Errc::limit, "over " + std::to_string(kMaxCriuWatches) + " watches"};
    watch_room_ -= watches;
    files_.emplace(FileKey{entry->kind, entry->id}, *std::move(entry));
    return Done{};
  };
  const auto one = [&](std::string_view message, criu::ImageReader&) {
    return keep(criu::parse_file_entry(message));
  };
  each_entry("files.img", criu::Kind::files, one, task);
  for (const criu::OldFiles& old : criu::old_file_images()) {
    const auto each = [&](std::string_view message, criu::ImageReader&) {
      return keep(criu::parse_old_file(old.file, message));
    };
    each_entry(std::string(old.name) + ".img", old.kind, each, task);
  }
  read_old_watches(task);
  if (!has("files.img") && files_.empty())
    lose("files.img", {Errc::not_found, "no such image: open files and programs are not known"}, task);
  const auto memfd = [&](std::string_view message, criu::ImageReader&) -> Status {
    auto inode = criu::parse_memfd(message);
    if (!inode) return std::move(inode).error();
    memfds_[inode->id] = *std::move(inode);
    return Done{};
  };
  each_entry("memfd.img", criu::Kind::memfd, memfd, task);
}

// The first entry of an image behind which as much data may follow as there was.
Result<std::string> CheckpointTasks::read_head(const std::string& name, criu::Kind kind) {
  constexpr std::size_t kHeadBytes = 4096;
  auto bytes = store_.bytes_of(dir_ + name);
  if (!bytes) return std::move(bytes).error();
  std::string head(kHeadBytes, '\0');
  auto got = (*bytes)->read_at(0, std::as_writable_bytes(std::span(head)));
  if (!got) return std::move(got).error();
  head.resize(*got);
  auto reader = criu::ImageReader::open(head, kind);
  if (!reader) return std::move(reader).error();
  std::string_view message;
  auto more = reader->next(message);
  if (!more) return std::move(more).error();
  if (!*more) return Error{Errc::truncated, "an image without an entry"};
  return std::string(message);
}

// Files without a name: what remains of them is in ghost-file-<hex>.img.
void CheckpointTasks::read_remaps(const Task& task) {
  const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto remap = criu::parse_remap(message);
    if (!remap) return remap.error();
    if (remap->type == criu::Remap::Type::procfs) return Done{};  // of a process that ended
    deleted_.insert(remap->file);
    if (remap->type != criu::Remap::Type::ghost) {
      ++nameless_files;
      return Done{};
    }
    const std::string name = fmt::format("ghost-file-{:x}.img", remap->remap);
    if (const criu::FileEntry* of = file(FileKind::regular, remap->file)) {
      deleted_names.push_back(of->name);
      ghost_names_[name] = of->name;
    }
    const auto head = read_head(name, criu::Kind::ghost_file);
    auto ghost = head ? criu::parse_ghost(*head) : Result<criu::GhostFile>(head.error());
    if (!ghost) lose(name, std::move(ghost).error(), task);
    if (ghost) ghosts_[remap->file] = *std::move(ghost);
    return Done{};
  };
  each_entry("remap-fpath.img", criu::Kind::remap_fpath, one, task);
}

void CheckpointTasks::name_executable(std::uint32_t id, Executable& into) const {
  const criu::FileEntry* entry = open_file(id);
  if (entry == nullptr) return;
  if (entry->kind == FileKind::memfd) {
    const auto inode = memfds_.find(entry->object);
    into.path = Bytes(inode == memfds_.end() ? "/memfd:" : memfd_path(inode->second));
    into.origin = Origin::memfd;
    into.deleted = true;
    if (inode == memfds_.end()) return;
    into.size_bytes = inode->second.size_bytes;
    into.uid = inode->second.uid;
    return;
  }
  into.path = Bytes(entry->name);
  into.deleted = deleted_.contains(id);
  into.size_bytes = entry->size_bytes.value_or(0);
  into.mode = entry->mode.value_or(0) & 07777U;
  const auto ghost = ghosts_.find(id);
  if (ghost == ghosts_.end()) return;
  into.uid = ghost->second.uid;
  into.mode = ghost->second.mode & 07777U;
  into.mtime = ghost->second.mtime;
}

Descriptor CheckpointTasks::descriptor_of(const criu::FdEntry& fd) const {
  Descriptor made;
  made.fd = static_cast<std::int32_t>(fd.fd);
  made.kind = "other";
  const auto anonymous = [&](std::string_view name) {
    made.kind = "anon";
    made.target = Bytes("anon_inode:[" + std::string(name) + "]");
  };
  const criu::FileEntry* entry = file(fd.kind, fd.file);
  if (entry == nullptr) return made;
  made.flags = Hex{entry->flags};
  made.position_bytes = entry->position_bytes;
  switch (entry->kind) {
    case FileKind::regular: {
      made.target = Bytes(entry->name);
      made.deleted = deleted_.contains(entry->id);
      made.size_bytes = entry->size_bytes.value_or(0);
      const std::uint32_t type = entry->mode.value_or(S_IFREG) & S_IFMT;
      made.kind = type == S_IFDIR   ? "directory"
                  : type == S_IFCHR ? "character"
                  : type == S_IFBLK ? "block"
                                    : "regular";
      break;
    }
    case FileKind::fifo: {
      const criu::FileEntry* named = file(FileKind::regular, entry->id);
      made.kind = "fifo";
      if (named != nullptr) made.target = Bytes(named->name);
      made.inode = Hex{entry->object};
      break;
    }
    case FileKind::pipe:
      made.kind = "fifo";
      made.target = Bytes("pipe:[" + std::to_string(entry->object) + "]");
      made.inode = Hex{entry->object};
      break;
    case FileKind::inet:
    case FileKind::unix_socket:
    case FileKind::packet:
    case FileKind::netlink:
      made.kind = "socket";
      made.target = Bytes("socket:[" + std::to_string(entry->inode) + "]");
      made.inode = Hex{entry->inode};
      break;
    case FileKind::tty: {
      made.kind = "character";
      const auto tty = ttys_.find(static_cast<std::uint32_t>(entry->object));
      const criu::FileEntry* named = file(FileKind::regular, entry->named_by);
      if (named != nullptr && !named->name.empty())
        made.target = Bytes(named->name);
      else if (tty != ttys_.end() && tty->second.is_pty)
        made.target = Bytes("/dev/pts/" + std::to_string(tty->second.index));
      break;
    }
    case FileKind::memfd: {
      made.kind = "memfd";
      made.deleted = true;
      const auto inode = memfds_.find(entry->object);
      if (inode == memfds_.end()) break;
      made.target = Bytes(memfd_path(inode->second));
      made.size_bytes = inode->second.size_bytes;
      break;
    }
    case FileKind::eventfd:
      anonymous("eventfd");
      break;
    case FileKind::eventpoll:
      anonymous("eventpoll");
      break;
    case FileKind::inotify:
      anonymous("inotify");
      break;
    case FileKind::fanotify:
      anonymous("fanotify");
      break;
    case FileKind::signalfd:
      anonymous("signalfd");
      break;
    case FileKind::timerfd:
      anonymous("timerfd");
      break;
    case FileKind::bpf_map:
      anonymous("bpf-map");
      break;
    case FileKind::pidfd:
      anonymous("pidfd");
      break;
    case FileKind::ns:
      made.target = Bytes("ns:[" + std::to_string(entry->object) + "]");
      break;
    case FileKind::tun:
      made.kind = "character";
      made.target = Bytes("/dev/net/tun");
      break;
    case FileKind::external:
    case FileKind::none:
      break;
  }
  add_detail(*entry, made);
  return made;
}

// The open files of all processes. An error of `take` ends it and comes back.
Status CheckpointTasks::each_fd(
    const std::function<Status(const CheckpointTask&, const criu::FdEntry&)>& take, const Task& task) {
  for (const CheckpointTask& about : tasks_) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (!about.has_memory || about.files_id == 0) continue;
    const std::string name = "fdinfo-" + std::to_string(about.files_id) + ".img";
    if (!has(name)) {
      lose(name, {Errc::not_found, "no such image"}, task);
      continue;
    }
    Status taken = Done{};
    const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
      const auto fd = criu::parse_fd(message);
      if (!fd) return fd.error();
      if (taken) taken = take(about, *fd);
      return Done{};
    };
    each_entry(name, criu::Kind::fdinfo, one, task);
    if (!taken) return taken;
  }
  return Done{};
}

Status CheckpointTasks::list_descriptors(const Emit<Descriptor>& emit, const Task& task) {
  return each_fd(
      [&](const CheckpointTask& about, const criu::FdEntry& fd) {
        Descriptor descriptor = descriptor_of(fd);
        descriptor.container = id_;
        descriptor.pid = static_cast<std::int32_t>(about.pid);
        return emit(std::move(descriptor));
      },
      task);
}

Mapping CheckpointTasks::mapping_of(const criu::Vma& vma) const {
  Mapping made;
  made.container = id_;
  made.start = Hex{vma.start};
  made.end = Hex{vma.end};
  const auto bit = [](std::uint32_t value, std::uint32_t mask, char name) {
    return (value & mask) != 0 ? name : '-';
  };
  made.protection = {bit(vma.protection, PROT_READ, 'r'), bit(vma.protection, PROT_WRITE, 'w'),
                     bit(vma.protection, PROT_EXEC, 'x'), (vma.flags & MAP_SHARED) != 0 ? 's' : 'p'};
  using Vma = criu::Vma;
  const auto id = static_cast<std::uint32_t>(vma.object);
  if ((vma.status & (Vma::file_private | Vma::file_shared | Vma::memfd)) != 0) {
    made.offset_bytes = vma.offset_bytes;
    const criu::FileEntry* entry = (vma.status & Vma::memfd) != 0 ? file(FileKind::memfd, id) : open_file(id);
    if (entry != nullptr && entry->kind == FileKind::memfd) {
      const auto inode = memfds_.find(entry->object);
      if (inode != memfds_.end()) made.path = Bytes(memfd_path(inode->second) + " (deleted)");
    } else if (entry != nullptr) {
      made.path = Bytes(entry->name + (deleted_.contains(id) ? " (deleted)" : ""));
    }
  } else if ((vma.status & Vma::sysv) != 0) {
    made.path = Bytes("/SYSV" + std::to_string(vma.object));
  } else if ((vma.status & Vma::heap) != 0) {
    made.path = Bytes("[heap]");
  } else if ((vma.status & Vma::stack) != 0) {
    made.path = Bytes("[stack]");
  } else if ((vma.status & Vma::vdso) != 0) {
    made.path = Bytes("[vdso]");
  } else if ((vma.status & Vma::vvar) != 0) {
    made.path = Bytes("[vvar]");
  } else if ((vma.status & Vma::vsyscall) != 0) {
    made.path = Bytes("[vsyscall]");
  } else if ((vma.status & Vma::aio_ring) != 0) {
    made.path = Bytes("/[aio]");
  }
  return made;
}

Status CheckpointTasks::list_mappings(const Emit<Mapping>& emit, const Task& task) {
  for (const CheckpointTask& about : tasks_) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (!about.has_memory) continue;
    const auto text = image("mm-" + std::to_string(about.pid) + ".img", task);
    const auto memory = text ? criu::parse_memory(*text) : Result<criu::Memory>(Error{});
    if (!memory) continue;  // told when the processes were read
    const auto map = memory_.page_map(std::to_string(about.pid), about.page_bytes);
    for (const criu::Vma& vma : memory->vmas) {
      Mapping mapping = mapping_of(vma);
      mapping.pid = static_cast<std::int32_t>(about.pid);
      if (map && !map->compressed) mapping.dumped_bytes = map->bytes_in(vma.start, vma.end);
      if (auto emitted = emit(std::move(mapping)); !emitted) return emitted;
    }
  }
  return Done{};
}

void CheckpointTasks::read_mounts(std::uint32_t namespace_id, const Task& task) {
  const std::string name = "mountpoints-" + std::to_string(namespace_id) + ".img";
  if (!has(name)) return lose(name, {Errc::not_found, "no such image"}, task);
  const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
    auto entry = criu::parse_mount(message);
    if (!entry) return std::move(entry).error();
    Mount mount;
    mount.container = id_;
    mount.id = entry->id;
    mount.parent_id = entry->parent;
    mount.device = device_of(entry->device);
    mount.root = Bytes(std::move(entry->root));
    mount.mountpoint = Bytes(absolute(std::move(entry->mountpoint)));
    mount.options = Bytes(mount_options(entry->flags));
    if (entry->shared != 0) mount.propagation.emplace_back("shared:" + std::to_string(entry->shared));
    if (entry->master != 0) mount.propagation.emplace_back("master:" + std::to_string(entry->master));
    mount.fstype = Bytes(std::move(entry->fstype));
    mount.source = Bytes(std::move(entry->source));
    mount.super_options = Bytes(std::move(entry->options));
    if (entry->external || !entry->external_key.empty()) external_mounts_.insert(mount.mountpoint.raw);
    mounts.push_back(std::move(mount));
    return Done{};
  };
  each_entry(name, criu::Kind::mountpoints, one, task);
}

}  // namespace ctriage::source
