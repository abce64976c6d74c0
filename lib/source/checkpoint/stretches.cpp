// What the bytes of a queue's image are of: which packet, which end of a connection. For matches of a search.
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::string_view kTcpPrefix = "tcp-stream-";

std::string connection_of(const std::map<std::uint64_t, const Socket*>& sockets, std::uint64_t inode) {
  const std::string numbered = "socket:[" + std::to_string(inode) + "]";
  const auto found = sockets.find(inode);
  if (found == sockets.end()) return numbered;
  const Socket& socket = *found->second;
  const std::string local = socket.local.empty() ? numbered : socket.local.raw;
  return socket.family + " " + local + (socket.remote.empty() ? "" : " - " + socket.remote.raw);
}

}  // namespace

// Packets of one receiver are counted from 1, as `extract` lists them.
Status CheckpointTasks::each_packet(criu::ImageReader& reader, std::uint64_t image_bytes,
                                    const TakeStretch& take) const {
  struct Receiver {
    std::string name;
    std::uint64_t packets = 0;
  };
  std::map<std::uint32_t, Receiver> receivers;
  std::map<std::uint64_t, const Socket*> by_inode;
  for (const Socket& socket : sockets) by_inode.emplace(socket.inode.value, &socket);
  std::string_view message;
  for (;;) {
    auto more = reader.next(message);
    if (!more || !*more) return more ? Status(Done{}) : Status(std::move(more).error());
    const auto packet = criu::parse_packet(message);
    if (!packet) return packet.error();
    const std::uint64_t at = image_bytes - reader.left();
    if (auto passed = reader.take(packet->length_bytes); !passed) return std::move(passed).error();
    if (receivers.size() >= kMaxQueueReceivers && !receivers.contains(packet->receiver)) continue;
    Receiver& receiver = receivers[packet->receiver];
    if (receiver.packets++ == 0) {
      const criu::FileEntry* entry = nullptr;
      for (const FileKind kind :
           {FileKind::unix_socket, FileKind::netlink, FileKind::inet, FileKind::packet}) {
        if (entry == nullptr) entry = file(kind, packet->receiver);
      }
      receiver.name = entry == nullptr ? "file " + std::to_string(packet->receiver)
                                       : connection_of(by_inode, entry->inode);
    }
    auto taken =
        take(at, packet->length_bytes, receiver.name + ", packet " + std::to_string(receiver.packets));
    if (!taken) return taken;
  }
}

Status CheckpointTasks::each_pipe(criu::ImageReader& reader, std::uint64_t image_bytes,
                                  const TakeStretch& take) const {
  std::string_view message;
  for (;;) {
    auto more = reader.next(message);
    if (!more || !*more) return more ? Status(Done{}) : Status(std::move(more).error());
    const auto data = criu::parse_pipe_data(message);
    if (!data) return data.error();
    const std::uint64_t at = image_bytes - reader.left();
    if (auto passed = reader.take(data->length_bytes); !passed) return std::move(passed).error();
    if (auto taken = take(at, data->length_bytes, "pipe:[" + std::to_string(data->pipe) + "]"); !taken)
      return taken;
  }
}

Status CheckpointTasks::each_stretch(const std::string& image, std::string_view text,
                                     const TakeStretch& take) const {
  const bool tcp = image.starts_with(kTcpPrefix);
  const bool packets = image.starts_with("sk-queues");
  const bool fifo = image.starts_with("fifo-data");
  if (!tcp && !packets && !fifo && !image.starts_with("pipes-data")) return Done{};
  auto reader = criu::ImageReader::open(text, tcp       ? criu::Kind::tcp_stream
                                              : packets ? criu::Kind::sk_queues
                                              : fifo    ? criu::Kind::fifo_data
                                                        : criu::Kind::pipes_data);
  if (!reader) return std::move(reader).error();
  if (packets) return each_packet(*reader, text.size(), take);
  if (!tcp) return each_pipe(*reader, text.size(), take);
  std::string_view message;
  auto more = reader->next(message);
  if (!more || !*more) return more ? Status(Done{}) : Status(std::move(more).error());
  const auto stream = criu::parse_tcp_stream(message);
  if (!stream) return stream.error();
  const std::string name = name_of_image(image);
  const std::uint64_t at = text.size() - reader->left();
  const std::uint64_t received = std::min(stream->receive_bytes, reader->left());
  const std::uint64_t sent = std::min(stream->send_bytes, reader->left() - received);
  if (received > 0) {
    if (auto taken = take(at, received, name + ", received and not read"); !taken) return taken;
  }
  return sent == 0 ? Status(Done{}) : take(at + received, sent, name + ", sent and not acknowledged");
}

}  // namespace ctriage::source
