// What of a live or ended container has bytes and no file: open files without a name, memfds, tmpfs; and the
// files of its UpperDir.
#include "lib/source/objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/core/limits.h"
#include "lib/overlay/tree.h"
#include "lib/source/ended.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/object_trees.h"
#include "lib/source/live/reach.h"
#include "lib/source/object_memory.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxOpenFiles = 65'536;  // without a name, of one container
constexpr std::size_t kBlockBytes = 256 << 10;

using FileId = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

struct OpenFile {
  std::int32_t pid = 0;  // one that has it
  std::string link;      // below its /proc/PID
  std::string path;
  bool memfd = false;
  std::set<std::int32_t> pids;
  std::set<std::int32_t> run_by;
};

std::string without_deleted(std::string path) {
  if (path.ends_with(proc::kDeleted)) path.resize(path.size() - proc::kDeleted.size());
  return path;
}

void tell_never(const ObjectQuery& query, const std::string& name, std::string_view of, Task& task) {
  const auto tell = [&](ObjectKind kind, std::string why) {
    if (query.wants(kind))
      task.gaps.add({Impact::note, "extract." + std::string(to_text(kind)), name,
                     Error{Errc::unsupported, std::move(why)}});
  };
  if (of == "live") {
    tell(ObjectKind::queues, "reading a queue would take it from the container: only a checkpoint has them");
    tell(ObjectKind::sysv, "not extracted from a live container: dump and search read what is mapped of it");
    return;
  }
  for (const ObjectKind kind : {ObjectKind::deleted, ObjectKind::memfd, ObjectKind::tmpfs, ObjectKind::queues,
                                ObjectKind::sysv, ObjectKind::code})
    tell(kind, std::string(kNoProcesses));
}

Status feed_upper(const std::function<Status(overlay::Visitor&)>& walk, const std::string& container,
                  ObjectVisitor& visitor, Task& task) {
  TreeObjects objects(container, ObjectKind::changed, "", visitor);
  auto walked = walk(objects);
  if (!walked && walked.error().code == Errc::unsupported) {
    task.gaps.add({Impact::lost, "container.upper", container, std::move(walked).error()});
    return Done{};
  }
  return walked;
}

// Regular files that are open, mapped or run and have no name any more; each once.
Status visit_open_files(LiveSnapshot& snapshot, LiveContainer& live, const ObjectQuery& query,
                        ObjectVisitor& visitor, Task& task) {
  Node& node = snapshot.node();
  std::map<FileId, OpenFile> files;
  bool full = false;
  const auto note = [&](const Root& process, std::int32_t pid, const std::string& link, std::string path,
                        bool runs) {
    const auto pin = process.pin_magic(link);
    const auto info = pin ? file_info(pin->get(), path) : Result<FileInfo>(pin.error());
    if (!info) {
      if (!info.error().is_gone())
        task.gaps.add({Impact::lost, "extract.deleted", pid_text(pid) + " " + path,
                       needs(info.error(), "CAP_SYS_PTRACE")});
      return;
    }
    // What runs and has lost the name it was started by may have another one left.
    const bool unlinked = info->nlink == 0 || (runs && path.ends_with(proc::kDeleted));
    if (!info->is_regular() || !unlinked) return;
    path = without_deleted(std::move(path));
    const bool memfd = info->dev_major == 0 && (path.starts_with("/memfd:") || path == "/dev/zero");
    if (!query.wants(memfd ? ObjectKind::memfd : ObjectKind::deleted)) return;
    if (info->dev_major == 0 && path.starts_with("/SYSV")) return;
    const FileId id{info->device(), info->inode};
    full = full || (files.size() >= kMaxOpenFiles && !files.contains(id));
    if (full) return;
    OpenFile& file = files[id];
    if (file.link.empty()) {
      file.pid = pid;
      file.link = link;
      file.path = std::move(path);
      file.memfd = memfd;
    }
    if (file.pids.size() < kMaxObjectOwners || pid == query.pid) file.pids.insert(pid);
    if (runs && file.run_by.size() < kMaxObjectOwners) file.run_by.insert(pid);
  };
  const auto each_process = [&](auto&& use) -> Status {
    for (const auto& [pid, held] : live.processes) {
      if (auto go_on = task.check(); !go_on) return go_on;
      if (held.gone || held.ended) continue;
      const auto process = proc::open_living(node.proc, pid, held.start_ticks);
      if (process) use(*process, pid);
    }
    return Done{};
  };
  const std::string& id = live.container.id;
  auto looked = each_process([&](const Root& process, std::int32_t pid) {
    if (const auto exe = process.read_link_beneath("exe")) note(process, pid, "exe", *exe, true);
  });
  if (!looked) return looked;
  const Emit<Descriptor> descriptor = [&](Descriptor&& one) -> Status {
    if (one.kind != "memfd" && !(one.kind == "regular" && one.deleted)) return Done{};
    const auto held = live.processes.find(one.pid);
    if (held == live.processes.end()) return Done{};
    const auto process = proc::open_living(node.proc, one.pid, held->second.start_ticks);
    if (process) note(*process, one.pid, "fd/" + std::to_string(one.fd), one.target.raw, false);
    return Done{};
  };
  if (auto listed = snapshot.list_descriptors(id, descriptor, task); !listed) return listed;
  const Emit<Mapping> mapping = [&](Mapping&& one) -> Status {
    if (one.inode.value == 0 || !one.path.view().ends_with(proc::kDeleted)) return Done{};
    const auto held = live.processes.find(one.pid);
    if (held == live.processes.end()) return Done{};
    const auto process = proc::open_living(node.proc, one.pid, held->second.start_ticks);
    if (process)
      note(*process, one.pid, fmt::format("map_files/{:x}-{:x}", one.start.value, one.end.value),
           one.path.raw, false);
    return Done{};
  };
  if (auto listed = snapshot.list_mappings(id, mapping, task); !listed) return listed;
  if (full)
    task.gaps.add({Impact::lost, "extract.deleted", id,
                   Error{Errc::limit, "over " + std::to_string(kMaxOpenFiles) +
                                          " open files without a name: the first are taken"}});

  std::vector<std::byte> block(kBlockBytes);
  for (auto& [key, file] : files) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (query.pid != 0 && !file.pids.contains(query.pid)) continue;
    ExtractedObject object;
    object.container = id;
    object.kind = file.memfd ? ObjectKind::memfd : ObjectKind::deleted;
    object.what = !file.memfd ? "file" : file.path == "/dev/zero" ? "shared memory" : "memfd";
    object.path = Bytes(file.path);
    object.pids.assign(file.pids.begin(), file.pids.end());
    object.run_by.assign(file.run_by.begin(), file.run_by.end());
    object.type = FileType::regular;
    std::optional<Error> missing;
    std::unique_ptr<ByteSource> bytes;
    std::uint64_t size = 0;
    const auto process = proc::open_living(node.proc, file.pid, live.processes[file.pid].start_ticks);
    auto pin = process ? process->pin_magic(file.link) : Result<UniqueFd>(process.error());
    auto info = pin ? file_info(pin->get(), file.path) : Result<FileInfo>(pin.error());
    if (info && FileId{info->device(), info->inode} != key)
      info = Error{Errc::changed, "is another file by now"};
    if (!info) {
      missing = needs(std::move(info).error(), "CAP_SYS_PTRACE");
    } else {
      size = info->size_bytes;
      object.mode = info->mode & 07777U;
      object.uid = info->uid;
      object.gid = info->gid;
      object.mtime = info->mtime;
      auto held = hold_file(node, live, *std::move(pin), file.pid, task);
      auto source = held ? read_program(node, *held, file.path, task)
                         : Result<std::unique_ptr<ByteSource>>(std::move(held).error());
      if (source) bytes = *std::move(source);
      if (!source) missing = std::move(source).error();
    }
    object.size_bytes = size;
    if (auto begun = visitor.begin(std::move(object)); !begun) return begun;
    std::uint64_t at = 0;
    while (bytes && !missing && at < size) {
      auto got = bytes->read(
          std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), size - at))));
      if (auto go_on = task.check(); !go_on) return go_on;
      if (!got) missing = std::move(got).error();
      if (!missing && *got == 0) missing = Error{Errc::truncated, "ended before its size"};
      if (missing) break;
      if (auto written = visitor.write(at, std::span<const std::byte>(block).first(*got)); !written)
        return written;
      task.passed(*got);
      at += *got;
    }
    if (missing) size = at;
    if (auto ended = visitor.end(size, std::move(missing)); !ended) return ended;
  }
  return Done{};
}

}  // namespace

Status visit_live_objects(LiveSnapshot& snapshot, const ObjectQuery& query, ObjectVisitor& visitor,
                          Task& task) {
  if (query.pid != 0 && std::ranges::none_of(snapshot.containers(), [&](const LiveContainer& live) {
        return live.processes.contains(query.pid);
      }))
    return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not of " + snapshot.name()};
  if (query.wants(ObjectKind::deleted) || query.wants(ObjectKind::memfd) || query.wants(ObjectKind::tmpfs) ||
      query.wants(ObjectKind::changed))
    (void)snapshot.hold(task);
  for (LiveContainer& live : snapshot.containers()) {
    const std::string& id = live.container.id;
    tell_never(query, live.container.name.raw, live.ended ? "ended" : "live", task);
    if (query.wants(ObjectKind::deleted) || query.wants(ObjectKind::memfd)) {
      if (auto visited = visit_open_files(snapshot, live, query, visitor, task); !visited) return visited;
    }
    if (query.pid != 0 || live.alone) continue;  // files are no process's
    for (const HeldTmpfs& held : live.tmpfs) {
      if (!query.wants(ObjectKind::tmpfs) || !held.root) continue;
      const std::string below = held.mountpoint == "/" ? "" : held.mountpoint;
      const auto is_known = [&](std::string_view path) {
        const bool known = std::ranges::any_of(live.mounts, [&](const Mount& mount) {
          return mount.mountpoint.raw == below + std::string(path);
        });
        if (known)
          task.gaps.add({Impact::note, "container.tmpfs", below + std::string(path),
                         Error{Errc::outside, "mounted over this tmpfs: what lies below is not seen"}});
        return known;
      };
      const overlay::PlainTree tree{*held.root, snapshot.node().touched, id, is_known};
      const auto slash = held.mountpoint.rfind('/');
      TreeObjects objects(id, ObjectKind::tmpfs, held.directory ? below : below.substr(0, slash), visitor);
      auto walked = held.directory ? overlay::walk_plain(tree, objects, task)
                                   : overlay::take_plain_file(tree, held.root->fd(),
                                                              held.mountpoint.substr(slash), objects, task);
      if (!walked) return walked;
    }
    if (!query.wants(ObjectKind::changed)) continue;
    auto fed = feed_upper([&](overlay::Visitor& to) { return snapshot.walk_upper(live, to, task); }, id,
                          visitor, task);
    if (!fed) return fed;
  }
  if (!query.wants(ObjectKind::code)) return Done{};
  CodeObjects code(visitor, task);
  MemoryQuery memory;
  memory.pid = query.pid;
  if (auto visited = snapshot.visit_memory(memory, code, task); !visited) return visited;
  return code.finish();
}

// Through its list of changes: only what is there is looked at.
Status visit_ended_objects(EndedSnapshot& ended, const ObjectQuery& query, ObjectVisitor& visitor,
                           Task& task) {
  if (query.pid != 0) return Error{Errc::not_found, std::string(kNoProcesses)};
  std::vector<std::pair<std::string, std::string>> containers;  // id, name
  const Emit<Container> each = [&](Container&& container) -> Status {
    containers.emplace_back(container.id, container.name.raw);
    return Done{};
  };
  if (auto listed = ended.list_containers(each, task); !listed) return listed;
  for (const auto& [id, name] : containers) {
    tell_never(query, name, "ended", task);
    if (!query.wants(ObjectKind::changed)) continue;
    TreeObjects objects(id, ObjectKind::changed, "", visitor);
    const Emit<FileChange> change = [&](FileChange&& one) -> Status {
      const bool bytes = one.after && one.after->type == FileType::regular && !one.hard_link_of &&
                         !one.hidden_by && !one.renamed_from;
      if (!bytes) return objects.change(std::move(one));
      if (auto begun = objects.begin(one, {}); !begun) return begun;
      FileKey key;
      key.container = id;
      key.layer = "upper";
      key.path = one.path.raw;
      key.follow = false;
      auto opened = ended.open_file(key, task);
      if (opened && !opened->bytes) opened = Error{Errc::changed, "is no regular file by now"};
      if (auto go_on = task.check(); !go_on) return go_on;
      if (!opened) {
        one.partial = opened.error().what;
        return objects.change(std::move(one));
      }
      std::vector<std::byte> block(kBlockBytes);
      std::uint64_t at = 0;
      while (at < one.after->size_bytes) {
        auto got = opened->bytes->read(std::span(block).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), one.after->size_bytes - at))));
        if (auto go_on = task.check(); !go_on) return go_on;
        if (!got) one.partial = got.error().what;
        if (got && *got == 0) one.partial = "ended before its size";
        if (!got || *got == 0) break;
        if (auto written = objects.data(at, std::span<const std::byte>(block).first(*got), nullptr); !written)
          return written;
        at += *got;
      }
      return objects.change(std::move(one));
    };
    if (auto listed = ended.list_changes(id, change, task); !listed) return listed;
  }
  return Done{};
}

}  // namespace ctriage::source
