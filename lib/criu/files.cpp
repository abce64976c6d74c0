// Open files: fdinfo.proto and the messages of its union, remap-file-path.proto, ghost-file.proto,
// memfd.proto, sk-*.proto, tcp-stream.proto, tty.proto of CRIU 4.2.
#include <fmt/format.h>

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
      default:
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

Result<GhostFile> parse_ghost(std::string_view message) {
  GhostFile ghost;
  Message in(message);
  while (in.next()) {
    in.take(1, ghost.uid);
    in.take(2, ghost.gid);
    in.take(3, ghost.mode);
    in.take(9, ghost.chunks);
    in.take(10, ghost.size_bytes);
    in.take(11, ghost.link_target);
    if (in.field() != 8) continue;
    Message time(in.bytes());  // timeval
    Timestamp at;
    while (time.next()) {
      constexpr std::uint64_t kPerSecond = 1'000'000;
      time.take(1, at.seconds);
      if (time.field() == 2) at.nanoseconds = static_cast<std::uint32_t>(time.number() % kPerSecond * 1'000);
    }
    if (!time.ok()) return damaged("ghost_file_entry");
    ghost.mtime = at;
  }
  return whole(in, std::move(ghost), "ghost_file_entry");
}

Result<GhostChunk> parse_ghost_chunk(std::string_view message) {
  GhostChunk chunk;
  Message in(message);
  while (in.next()) {
    in.take(1, chunk.size_bytes);
    in.take(2, chunk.offset_bytes);
  }
  return whole(in, chunk, "ghost_chunk_entry");
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

Result<QueuedPacket> parse_packet(std::string_view message) {
  QueuedPacket packet;
  Message in(message);
  while (in.next()) {
    in.take(1, packet.receiver);
    in.take(2, packet.length_bytes);
  }
  return whole(in, packet, "sk_packet_entry");
}

Result<TcpStream> parse_tcp_stream(std::string_view message) {
  TcpStream stream;
  Message in(message);
  while (in.next()) {
    in.take(1, stream.receive_bytes);
    in.take(3, stream.send_bytes);
  }
  return whole(in, stream, "tcp_stream_entry");
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
