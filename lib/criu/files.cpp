// Open files: fdinfo.proto and the messages of its union, remap-file-path.proto, ghost-file.proto,
// memfd.proto, sk-*.proto, tcp-stream.proto, tty.proto, fsnotify.proto, eventpoll.proto, bpfmap-file.proto of
// CRIU 4.2.
#include <fmt/format.h>

#include "lib/core/limits.h"
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

std::uint32_t owner_of(std::string_view fown) {
  Message in(fown);
  std::uint32_t uid = 0;
  while (in.next()) {
    in.take(1, uid);
  }
  return uid;
}

void read_regular(Message& in, FileEntry& file, std::vector<std::uint32_t>& build_id) {
  in.take(2, file.flags);
  in.take(3, file.position_bytes);
  if (in.field() == 5) file.owner = owner_of(in.bytes());
  in.take(6, file.name);
  if (in.field() == 7) file.mount = in.zigzag();
  in.take(8, file.size_bytes);
  in.take(10, file.mode);
  in.take(11, build_id);
}

void read_inet(Message& in, FileEntry& file) {
  in.take(2, file.inode);
  in.take(3, file.family);
  in.take(4, file.type);
  in.take(5, file.protocol);
  in.take(6, file.state);
  in.take(7, file.local_port);
  in.take(8, file.remote_port);
  in.take(9, file.flags);
  in.take(11, file.local);
  in.take(12, file.remote);
  if (in.field() == 13) file.owner = owner_of(in.bytes());
  in.take(18, file.net_ns);
}

void read_unix(Message& in, FileEntry& file) {
  in.take(2, file.inode);
  in.take(3, file.type);
  in.take(4, file.state);
  in.take(5, file.flags);
  in.take(8, file.peer);
  if (in.field() == 9) file.owner = owner_of(in.bytes());
  in.take(11, file.name);
  in.take(15, file.deleted);
  in.take(16, file.net_ns);
}

void read_netlink(Message& in, FileEntry& file) {
  in.take(2, file.inode);
  in.take(3, file.protocol);
  in.take(4, file.state);
  in.take(6, file.flags);
  in.take(7, file.port_id);
  if (in.field() == 11) file.owner = owner_of(in.bytes());
  in.take(13, file.net_ns);
}

void read_packet_socket(Message& in, FileEntry& file) {
  in.take(2, file.type);
  in.take(3, file.protocol);
  in.take(4, file.flags);
  if (in.field() == 6) file.owner = owner_of(in.bytes());
  in.take(18, file.net_ns);
}

// Of what is open, the field with what it watches; 0: it watches nothing.
std::uint32_t watch_field_of(FileKind kind) {
  switch (kind) {
    case FileKind::eventpoll:
      return 4;
    case FileKind::inotify:
      return 5;
    case FileKind::fanotify:
      return 6;
    default:
      return 0;
  }
}

FileDetail& detail_of(FileEntry& file) {
  if (file.detail == nullptr) file.detail = std::make_shared<FileDetail>();
  return *file.detail;
}

Status read_watch(Message& in, FileEntry& file) {
  const std::uint32_t field = watch_field_of(file.kind);
  if (field == 0 || in.field() != field) return Done{};
  auto& watches = detail_of(file).watches;
  if (watches.size() >= kMaxCriuWatches)
    return Error{Errc::limit, "over " + std::to_string(kMaxCriuWatches) + " watches of one file"};
  auto watch = parse_watch(file.kind, in.bytes());
  if (!watch) return std::move(watch).error();
  watches.push_back(*std::move(watch));
  return Done{};
}

void read_map(Message& in, FileEntry& file) {
  BpfMapEntry& map = detail_of(file).map;
  in.take(2, file.flags);
  in.take(3, file.position_bytes);
  if (in.field() == 5) file.owner = owner_of(in.bytes());
  in.take(6, map.type);
  in.take(7, map.key_bytes);
  in.take(8, map.value_bytes);
  in.take(9, map.id);
  in.take(10, map.max_entries);
  in.take(14, map.frozen);
}

// Where a plain entry of a kind keeps its flags and the object it is of; 0: nowhere.
struct PlainFields {
  FileKind kind;
  std::uint32_t object, flags, position;
};
constexpr PlainFields kPlain[] = {
    {FileKind::pipe, 2, 3, 0},      {FileKind::fifo, 2, 0, 0},    {FileKind::tty, 2, 3, 0},
    {FileKind::memfd, 5, 2, 3},     {FileKind::ns, 2, 4, 0},      {FileKind::eventfd, 0, 2, 0},
    {FileKind::eventpoll, 0, 2, 0}, {FileKind::inotify, 0, 2, 0}, {FileKind::signalfd, 0, 2, 0},
    {FileKind::fanotify, 0, 2, 0},  {FileKind::timerfd, 0, 2, 0}, {FileKind::pidfd, 0, 3, 0},
};

void read_plain(Message& in, FileEntry& file) {
  for (const PlainFields& plain : kPlain) {
    if (plain.kind != file.kind) continue;
    if (in.field() == plain.object) file.object = in.number();
    if (in.field() == plain.flags) file.flags = in.number32();
    if (in.field() == plain.position) file.position_bytes = in.number();
  }
  if (file.kind == FileKind::tty) in.take(5, file.named_by);
}

// The words of a build-id, each little-endian.
std::string build_id_text(const std::vector<std::uint32_t>& words) {
  std::string text;
  for (const std::uint32_t word : words) {
    for (unsigned shift = 0; shift < 32; shift += 8) text += fmt::format("{:02x}", (word >> shift) & 0xff);
  }
  return text;
}

Status parse_body(std::string_view message, FileEntry& file) {
  Message in(message);
  std::vector<std::uint32_t> build_id;
  while (in.next()) {
    if (in.field() == 1 && file.kind != FileKind::external) {
      const std::uint32_t id = in.number32();
      if (file.id == 0) file.id = id;
      continue;
    }
    switch (file.kind) {
      case FileKind::regular:
        read_regular(in, file, build_id);
        break;
      case FileKind::inet:
        read_inet(in, file);
        break;
      case FileKind::unix_socket:
        read_unix(in, file);
        break;
      case FileKind::netlink:
        read_netlink(in, file);
        break;
      case FileKind::packet:
        read_packet_socket(in, file);
        break;
      case FileKind::bpf_map:
        read_map(in, file);
        break;
      default:
        if (auto watch = read_watch(in, file); !watch) return watch;
        read_plain(in, file);
    }
  }
  if (!in.ok()) return damaged("file_entry");
  file.build_id = build_id_text(build_id);
  const auto is_address = [](const auto& words) {
    return words.empty() || words.size() == 1 || words.size() == 4;
  };
  if (!is_address(file.local) || !is_address(file.remote))
    return Error{Errc::malformed, "inet_sk_entry: an address of neither 4 nor 16 bytes"};
  return Done{};
}

// Number of the union's member that each kind of file has; the kinds are fd_types of fdinfo.proto.
constexpr std::uint32_t kMembers[] = {0,  3,  18, 17, 4,  16, 8,  9,  13, 10, 6,
                                      19, 14, 7,  5,  11, 15, 12, 20, 21, 22};

}  // namespace

Result<FileEntry> parse_file_entry(std::string_view message) {
  FileEntry file;
  std::string_view body;
  std::uint32_t member = 0;
  std::uint32_t type = 0;
  Message in(message);
  while (in.next()) {
    switch (in.field()) {
      case 1:
        type = in.number32();
        break;
      case 2:
        file.id = in.number32();
        break;
      default:
        member = in.field();
        body = in.bytes();
    }
  }
  if (!in.ok()) return damaged("file_entry");
  if (type >= std::size(kMembers)) return file;  // of a later CRIU: there, and no more is known
  file.kind = static_cast<FileKind>(type);
  if (member != kMembers[type]) return Error{Errc::malformed, "file_entry: its kind and its content differ"};
  if (auto parsed = parse_body(body, file); !parsed) return std::move(parsed).error();
  return file;
}

std::vector<OldFiles> old_file_images() {
  return {{"reg-files", Kind::reg_files, FileKind::regular},
          {"pipes", Kind::pipes, FileKind::pipe},
          {"fifo", Kind::fifo, FileKind::fifo},
          {"inetsk", Kind::inetsk, FileKind::inet},
          {"unixsk", Kind::unixsk, FileKind::unix_socket},
          {"eventfd", Kind::eventfd, FileKind::eventfd},
          {"eventpoll", Kind::eventpoll, FileKind::eventpoll},
          {"inotify", Kind::inotify, FileKind::inotify},
          {"signalfd", Kind::signalfd, FileKind::signalfd},
          {"packetsk", Kind::packetsk, FileKind::packet},
          {"tty", Kind::tty, FileKind::tty},
          {"fanotify", Kind::fanotify, FileKind::fanotify},
          {"netlinksk", Kind::netlinksk, FileKind::netlink},
          {"ns-files", Kind::ns_files, FileKind::ns},
          {"tunfile", Kind::tunfile, FileKind::tun},
          {"ext-files", Kind::ext_files, FileKind::external},
          {"timerfd", Kind::timerfd, FileKind::timerfd},
          {"pidfd", Kind::pidfd, FileKind::pidfd}};
}

Result<FileEntry> parse_old_file(FileKind kind, std::string_view message) {
  FileEntry file;
  file.kind = kind;
  if (auto parsed = parse_body(message, file); !parsed) return std::move(parsed).error();
  return file;
}

// A watch of inotify (wd), fanotify (mark) or epoll (tfd).
Result<WatchEntry> parse_watch(FileKind of, std::string_view message) {
  const bool inotify = of == FileKind::inotify;
  const bool fanotify = of == FileKind::fanotify;
  WatchEntry watch;
  bool fine = true;
  const auto handle = [&](std::string_view entry) {  // fh_entry
    Message fields(entry);
    while (fields.next()) {
      fields.take(4, watch.path);
    }
    fine = fine && fields.ok();
  };
  Message in(message);
  while (in.next()) {
    in.take(1, watch.owner);
    if (inotify) {
      in.take(2, watch.inode);
      in.take(3, watch.events);
      in.take(5, watch.device);
      if (in.field() == 7) handle(in.bytes());
    } else if (fanotify) {
      in.take(4, watch.events);
      in.take(6, watch.device);
      if (in.field() == 7) {
        Message mark(in.bytes());
        while (mark.next()) {
          mark.take(1, watch.inode);
          if (mark.field() == 2) handle(mark.bytes());
        }
        fine = fine && mark.ok();
      }
      if (in.field() == 8) {
        Message mark(in.bytes());
        while (mark.next()) {
          mark.take(1, watch.mount);
        }
        fine = fine && mark.ok();
      }
    } else {
      in.take(2, watch.fd);
      in.take(3, watch.events);
      in.take(5, watch.device);
      in.take(6, watch.inode);
    }
  }
  if (!fine) return damaged("fh_entry");
  return whole(in, std::move(watch), "inotify_wd_entry, fanotify_mark_entry or eventpoll_tfd_entry");
}

Result<FdEntry> parse_fd(std::string_view message) {
  FdEntry fd;
  Message in(message);
  while (in.next()) {
    in.take(1, fd.file);
    in.take(2, fd.flags);
    in.take(4, fd.fd);
    if (in.field() == 3) {
      const std::uint32_t kind = in.number32();
      if (kind < std::size(kMembers)) fd.kind = static_cast<FileKind>(kind);
    }
  }
  if (in.ok() && fd.fd > INT32_MAX)
    return Error{Errc::malformed, "fdinfo_entry: descriptor " + std::to_string(fd.fd)};
  return whole(in, fd, "fdinfo_entry");
}

Result<Remap> parse_remap(std::string_view message) {
  Remap remap;
  std::uint32_t type = 0;
  bool typed = false;
  Message in(message);
  while (in.next()) {
    in.take(1, remap.file);
    in.take(2, remap.remap);
    if (in.field() == 3) {
      type = in.number32();
      typed = true;
    }
  }
  // Before the field was there, the highest bit said ghost: criu/files-reg.c, REMAP_GHOST.
  constexpr std::uint32_t kOldGhost = 1U << 31;
  if (!typed && (remap.remap & kOldGhost) != 0) {
    remap.remap &= ~kOldGhost;
    type = 1;
  }
  if (type > 2) return Error{Errc::malformed, "remap_file_path_entry: type " + std::to_string(type)};
  remap.type = static_cast<Remap::Type>(type);
  return whole(in, remap, "remap_file_path_entry");
}

Result<MemfdInode> parse_memfd(std::string_view message) {
  MemfdInode memfd;
  Message in(message);
  while (in.next()) {
    in.take(1, memfd.name);
    in.take(2, memfd.uid);
    in.take(4, memfd.size_bytes);
    in.take(5, memfd.shared_memory);
    in.take(7, memfd.id);
  }
  return whole(in, std::move(memfd), "memfd_inode_entry");
}

Result<TtyInfo> parse_tty_info(std::string_view message) {
  TtyInfo tty;
  bool fine = true;
  Message in(message);
  while (in.next()) {
    in.take(1, tty.id);
    in.take(6, tty.session);
    in.take(8, tty.rdev);
    if (in.field() == 12) {
      tty.is_pty = true;
      Message pty(in.bytes());
      while (pty.next()) {
        pty.take(1, tty.index);
      }
      fine = fine && pty.ok();
    }
  }
  if (!fine) return damaged("tty_pty_entry");
  return whole(in, tty, "tty_info_entry");
}

}  // namespace ctriage::criu
