// Entries that bytes belong to: ghost-file.proto, sk-packet.proto, tcp-stream.proto, pipe-data.proto,
// ipc-desc.proto, ipc-shm.proto, ipc-msg.proto of CRIU 4.2.
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

// Whether the message in the field was one.
bool read_object(std::string_view message, IpcObject& into) {
  Message in(message);
  while (in.next()) {
    in.take(1, into.key);
    in.take(2, into.uid);
    in.take(3, into.gid);
    in.take(6, into.mode);
    in.take(7, into.id);
  }
  return in.ok();
}

}  // namespace

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
  return whole(in, ghost, "ghost_file_entry");
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

Result<QueuedPacket> parse_packet(std::string_view message) {
  constexpr std::uint32_t kSender = 128;
  QueuedPacket packet;
  bool fine = true;
  Message in(message);
  while (in.next()) {
    in.take(1, packet.receiver);
    in.take(2, packet.length_bytes);
    if (in.field() == 4) {
      Message passed(in.bytes());  // scm_entry
      while (passed.next()) passed.take(2, packet.passed);
      fine = fine && passed.ok();
    } else if (in.field() == kSender) {
      Message sender(in.bytes());  // sk_ucred_entry
      while (sender.next()) {
        sender.take(1, packet.uid);
        sender.take(3, packet.pid);
      }
      fine = fine && sender.ok();
    }
  }
  if (!fine) return damaged("sk_packet_entry");
  return whole(in, std::move(packet), "sk_packet_entry");
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

Result<PipeData> parse_pipe_data(std::string_view message) {
  PipeData data;
  Message in(message);
  while (in.next()) {
    in.take(1, data.pipe);
    in.take(2, data.length_bytes);
  }
  return whole(in, data, "pipe_data_entry");
}

Result<IpcSegment> parse_ipc_segment(std::string_view message) {
  IpcSegment segment;
  bool fine = true;
  Message in(message);
  while (in.next()) {
    if (in.field() == 1) fine = read_object(in.bytes(), segment.about) && fine;
    in.take(2, segment.size_bytes);
    in.take(3, segment.in_pagemaps);
  }
  if (!fine) return damaged("ipc_desc_entry");
  return whole(in, segment, "ipc_shm_entry");
}

Result<IpcQueue> parse_ipc_queue(std::string_view message) {
  IpcQueue queue;
  bool fine = true;
  Message in(message);
  while (in.next()) {
    if (in.field() == 1) fine = read_object(in.bytes(), queue.about) && fine;
    in.take(3, queue.messages);
  }
  if (!fine) return damaged("ipc_desc_entry");
  return whole(in, queue, "ipc_msg_entry");
}

Result<IpcMessage> parse_ipc_message(std::string_view message) {
  IpcMessage one;
  Message in(message);
  while (in.next()) {
    in.take(1, one.type);
    in.take(2, one.size_bytes);
  }
  return whole(in, one, "ipc_msg");
}

}  // namespace ctriage::criu
