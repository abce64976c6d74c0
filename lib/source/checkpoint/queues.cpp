// What was sent and not read, and System V objects of a checkpoint: FORMAT.md of lib/criu.
#include <fcntl.h>

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/source/checkpoint/image_stream.h"
#include "lib/source/checkpoint/objects.h"
#include "lib/source/object_feed.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::string_view kImageSuffix = ".img";

// What the data of an entry takes in its image.
std::uint64_t padded(std::uint64_t size, std::uint64_t to) {
  return size > UINT64_MAX - to ? size : (size + to - 1) / to * to;
}

// As /proc/PID/maps calls a segment, by its key.
Bytes ipc_name(const criu::IpcObject& about) {
  std::string digits(8, '0');
  for (std::size_t i = digits.size(), left = about.key; i-- > 0; left >>= 4)
    digits[i] = "0123456789abcdef"[left & 15];
  return Bytes("/SYSV" + digits + ", id " + std::to_string(about.id));
}

}  // namespace

const Socket* CheckpointObjects::socket_of(std::uint64_t inode) const {
  const auto found = std::ranges::find_if(tasks_->sockets,
                                          [&](const Socket& socket) { return socket.inode.value == inode; });
  return found == tasks_->sockets.end() ? nullptr : &*found;
}

void CheckpointObjects::name_connection(const criu::FileEntry& entry, ExtractedObject& into) const {
  into.path = Bytes("socket:[" + std::to_string(entry.inode) + "]");
  const Socket* socket = socket_of(entry.inode);
  if (socket == nullptr) return;
  into.local = socket->local;
  into.remote = socket->remote;
}

void CheckpointObjects::plan_queues(std::vector<ObjectWork>& into) {
  if (tasks_->has("pipes-data.img"))
    add(into, "pipes-data.img",
        [this](ObjectVisitor& to) { return walk_pipes("pipes-data.img", false, to); });
  if (tasks_->has("fifo-data.img"))
    add(into, "fifo-data.img", [this](ObjectVisitor& to) { return walk_pipes("fifo-data.img", true, to); });
  if (tasks_->has("sk-queues.img"))
    add(into, "sk-queues.img", [this](ObjectVisitor& to) { return walk_packets(to); });
  for (const std::string& name : images("tcp-stream-", kImageSuffix))
    add(into, name, [this, name](ObjectVisitor& to) { return walk_tcp(name, to); });
  if (std::ranges::any_of(tasks_->sockets,
                          [](const Socket& socket) { return socket.family.starts_with("udp"); }))
    note("checkpoint.queues", "what UDP sockets had received and not read is never in a checkpoint");
}

// pipes-data.img, fifo-data.img: which pipe, and its bytes.
Status CheckpointObjects::walk_pipes(const std::string& image, bool fifos, ObjectVisitor& to) {
  const std::string name = part_.image_dir + image;
  auto stream =
      ImageStream::open(*part_.images, name, fifos ? criu::Kind::fifo_data : criu::Kind::pipes_data);
  if (!stream) return unread(name, std::move(stream).error());
  struct Ends {
    Pids pids;
    Bytes path;
    bool packets = false;
  };
  std::map<std::uint64_t, Ends> pipes;  // by number
  for (const auto& [key, file] : tasks_->files_) {
    if (file.kind != (fifos ? FileKind::fifo : FileKind::pipe)) continue;
    Ends& ends = pipes[file.object];
    for (const std::int32_t pid : owners_[key]) ends.pids.insert(pid);
    if (fifos) {
      const criu::FileEntry* named = tasks_->file(FileKind::regular, file.id);
      if (named != nullptr) ends.path = Bytes(named->name);
    }
    ends.packets = ends.packets || (!fifos && (file.flags & O_DIRECT) != 0);
  }
  const Ends unknown{};
  ObjectFeed feed(to, task_);
  std::string message;
  for (;;) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto more = stream->next(message);
    auto data = more && *more ? criu::parse_pipe_data(message)
                              : Result<criu::PipeData>(more ? Error{} : std::move(more).error());
    if (more && !*more) return Done{};
    if (!data) return unread(name, std::move(data).error());
    const std::uint64_t at = stream->at();
    const std::uint64_t there = std::min(data->length_bytes, stream->left());
    auto passed = stream->skip(data->length_bytes);
    const auto found = pipes.find(data->pipe);
    const Ends& ends = found == pipes.end() ? unknown : found->second;
    if (data->length_bytes > 0 && wanted(ends.pids)) {
      ExtractedObject made = object(ObjectKind::queues, fifos ? "fifo" : "pipe", ends.pids);
      made.path = ends.path.empty() ? Bytes("pipe:[" + std::to_string(data->pipe) + "]") : ends.path;
      made.size_bytes = data->length_bytes;
      if (ends.packets)
        task_.gaps.add(
            {Impact::note,
             "checkpoint.queues",
             made.path.raw,
             {Errc::unsupported, "written in packets (O_DIRECT): CRIU keeps no boundaries of them"}});
      if (auto begun = feed.begin(std::move(made)); !begun) return begun;
      if (auto copied = feed.copy(stream->bytes(), at, there, 0); !copied) return copied;
      if (!passed) feed.miss(passed.error());
      if (auto ended = feed.end(std::min(data->length_bytes, there)); !ended) return ended;
    }
    if (!passed) {
      lose(name, std::move(passed).error());
      return Done{};
    }
  }
}

// Begins the object and gives it the bytes of each; who began it ends it.
Status CheckpointObjects::feed_packets(ExtractedObject&& made, const Queued& queue, archive::BytesAt& image,
                                       ObjectFeed& feed) {
  made.size_bytes = queue.size_bytes;
  made.packets = queue.packets;
  if (made.packets.size() > kMaxPacketsOfOne) made.packets.resize(kMaxPacketsOfOne);
  if (auto begun = feed.begin(std::move(made)); !begun) return begun;
  for (std::size_t i = 0; i < queue.packets.size() && !feed.missed(); ++i) {
    const ObjectPacket& packet = queue.packets[i];
    auto copied = feed.copy(image, queue.places[i], packet.size_bytes, packet.offset_bytes);
    if (!copied) return copied;
  }
  return Done{};
}

// sk-queues.img: packets of all receivers, each with its bytes, those of one in their order.
Status CheckpointObjects::walk_packets(ObjectVisitor& to) {
  const std::string name = part_.image_dir + "sk-queues.img";
  auto stream = ImageStream::open(*part_.images, name, criu::Kind::sk_queues);
  if (!stream) return unread(name, std::move(stream).error());
  std::map<std::uint32_t, Queued> queues;
  std::uint64_t beyond = 0;
  std::string message;
  std::optional<Error> broken;
  for (std::size_t count = 0; !broken; ++count) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto more = stream->next(message);
    if (more && !*more) break;
    auto packet = more ? criu::parse_packet(message) : Result<criu::QueuedPacket>(std::move(more).error());
    if (packet && count >= kMaxQueuePackets)
      packet = Error{Errc::limit, "over " + with_commas(kMaxQueuePackets) + " packets"};
    if (!packet) {
      broken = std::move(packet).error();
      break;
    }
    if (queues.size() >= kMaxQueueReceivers && !queues.contains(packet->receiver)) {
      ++beyond;
      if (auto passed = stream->skip(packet->length_bytes); !passed) broken = std::move(passed).error();
      continue;
    }
    Queued& queue = queues[packet->receiver];
    ObjectPacket one;
    one.offset_bytes = queue.size_bytes;
    one.size_bytes = std::min(packet->length_bytes, stream->left());
    if (packet->pid && *packet->pid <= INT32_MAX) one.pid = static_cast<std::int32_t>(*packet->pid);
    one.uid = packet->uid;
    one.descriptors = static_cast<std::uint32_t>(packet->passed.size());
    queue.size_bytes += one.size_bytes;
    queue.places.push_back(stream->at());
    queue.packets.push_back(std::move(one));
    if (auto passed = stream->skip(packet->length_bytes); !passed) broken = std::move(passed).error();
  }
  if (beyond > 0)
    lose(name, {Errc::limit, counted(beyond, "packet", "packets") + " for receivers beyond " +
                                 with_commas(kMaxQueueReceivers) + ": not written"});
  ObjectFeed feed(to, task_);
  for (auto& [id, queue] : queues) {
    const criu::FileEntry* entry = nullptr;
    const Pids* pids = nullptr;
    for (const FileKind kind : {FileKind::unix_socket, FileKind::netlink, FileKind::inet, FileKind::packet}) {
      if (entry == nullptr) entry = tasks_->file(kind, id);
      if (entry != nullptr && pids == nullptr) pids = &owners_[{kind, id}];
    }
    if (!wanted(pids == nullptr ? Pids{} : *pids)) continue;
    const bool of_unix = entry == nullptr || entry->kind == FileKind::unix_socket;
    ExtractedObject made =
        object(ObjectKind::queues, of_unix ? "unix" : "socket", pids == nullptr ? Pids{} : *pids);
    made.path = Bytes("file " + std::to_string(id));
    if (entry != nullptr) name_connection(*entry, made);
    if (auto fed = feed_packets(std::move(made), queue, stream->bytes(), feed); !fed) return fed;
    if (auto ended = feed.end(queue.size_bytes); !ended) return ended;
  }
  return broken ? unread(name, *std::move(broken)) : Status(Done{});
}

// tcp-stream-<inode>.img: what was received and not read, then what was sent and not acknowledged.
Status CheckpointObjects::walk_tcp(const std::string& image, ObjectVisitor& to) {
  const std::string name = part_.image_dir + image;
  constexpr std::size_t kPrefix = std::string_view("tcp-stream-").size();
  const auto inode = parse_number<std::uint64_t>(
      std::string_view(image).substr(kPrefix, image.size() - kPrefix - kImageSuffix.size()), 16);
  const criu::FileEntry* entry = nullptr;
  Pids pids;
  for (const auto& [key, file] : tasks_->files_) {
    if (!inode || file.kind != FileKind::inet || file.inode != *inode) continue;
    entry = &file;
    pids = owners_[key];
  }
  if (!wanted(pids)) return Done{};
  auto stream = ImageStream::open(*part_.images, name, criu::Kind::tcp_stream);
  if (!stream) return unread(name, std::move(stream).error());
  std::string message;
  auto more = stream->next(message);
  if (more && !*more) return unread(name, {Errc::truncated, "an image without an entry"});
  auto queues = more ? criu::parse_tcp_stream(message) : Result<criu::TcpStream>(std::move(more).error());
  if (!queues) return unread(name, std::move(queues).error());
  ObjectFeed feed(to, task_);
  const struct {
    const char* what;
    std::uint64_t size;
  } ways[] = {{"tcp receive", queues->receive_bytes}, {"tcp send", queues->send_bytes}};
  for (const auto& way : ways) {
    if (way.size == 0) continue;
    ExtractedObject made = object(ObjectKind::queues, way.what, pids);
    made.path = Bytes(image);
    if (entry != nullptr) name_connection(*entry, made);
    made.size_bytes = way.size;
    if (auto begun = feed.begin(std::move(made)); !begun) return begun;
    const std::uint64_t there = std::min(way.size, stream->left());
    if (auto copied = feed.copy(stream->bytes(), stream->at(), there, 0); !copied) return copied;
    auto passed = stream->skip(way.size);
    if (!passed) feed.miss(passed.error());
    if (auto ended = feed.end(there); !ended) return ended;
    if (!passed) return Done{};  // the object says it
  }
  return Done{};
}

void CheckpointObjects::plan_ipc(std::vector<ObjectWork>& into) {
  for (const std::string& name : images("ipcns-shm-", kImageSuffix))
    add(into, name, [this, name](ObjectVisitor& to) { return walk_segments(name, to); });
  if (query_.pid != 0) {
    note("checkpoint.sysv", "System V messages are no process's: left out by --pid");
  } else {
    for (const std::string& name : images("ipcns-msg-", kImageSuffix))
      add(into, name, [this, name](ObjectVisitor& to) { return walk_messages(name, to); });
  }
  constexpr std::uint64_t kEmptyImage = 8;  // magic numbers alone
  for (const std::string& name : images("ipcns-sem-", kImageSuffix)) {
    if (part_.images->find(part_.image_dir + name)->size_bytes > kEmptyImage)
      note("checkpoint.sysv", "semaphores are numbers and have no content: not extracted");
  }
}

// ipcns-shm: segments, each with its bytes unless they are in a page map.
Status CheckpointObjects::walk_segments(const std::string& image, ObjectVisitor& to) {
  const std::string name = part_.image_dir + image;
  auto stream = ImageStream::open(*part_.images, name, criu::Kind::ipc_shm);
  if (!stream) return unread(name, std::move(stream).error());
  ObjectFeed feed(to, task_);
  std::string message;
  for (;;) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto more = stream->next(message);
    if (more && !*more) return Done{};
    auto segment =
        more ? criu::parse_ipc_segment(message) : Result<criu::IpcSegment>(std::move(more).error());
    if (!segment) return unread(name, std::move(segment).error());
    const Pids& pids = sharers_[segment->about.id];
    ExtractedObject made = object(ObjectKind::sysv, "segment", pids);
    made.path = ipc_name(segment->about);
    made.uid = segment->about.uid;
    made.gid = segment->about.gid;
    made.mode = segment->about.mode & 07777U;
    made.size_bytes = segment->size_bytes;
    if (segment->in_pagemaps) {
      if (!wanted(pids)) continue;
      if (auto walked = walk_shared(std::move(made), segment->about.id, segment->size_bytes, to); !walked)
        return walked;
      continue;
    }
    const std::uint64_t there = std::min(segment->size_bytes, stream->left());
    const std::uint64_t at = stream->at();
    auto passed = stream->skip(padded(segment->size_bytes, 4));
    if (wanted(pids)) {
      if (auto begun = feed.begin(std::move(made)); !begun) return begun;
      if (auto copied = feed.copy(stream->bytes(), at, there, 0); !copied) return copied;
      if (there < segment->size_bytes) feed.miss(passed ? Error{Errc::truncated, "cut"} : passed.error());
      if (auto ended = feed.end(there); !ended) return ended;
    }
    if (!passed) return unread(name, std::move(passed).error());
  }
}

// ipcns-msg: queues, each with its messages and their bytes.
Status CheckpointObjects::walk_messages(const std::string& image, ObjectVisitor& to) {
  const std::string name = part_.image_dir + image;
  auto stream = ImageStream::open(*part_.images, name, criu::Kind::ipc_msg);
  if (!stream) return unread(name, std::move(stream).error());
  ObjectFeed feed(to, task_);
  std::string message;
  std::size_t count = 0;
  for (;;) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto more = stream->next(message);
    if (more && !*more) return Done{};
    auto about = more ? criu::parse_ipc_queue(message) : Result<criu::IpcQueue>(std::move(more).error());
    if (!about) return unread(name, std::move(about).error());
    Queued queue;
    std::optional<Error> broken;
    for (std::uint64_t i = 0; i < about->messages && !broken; ++i) {
      more = stream->next(message);
      if (more && !*more) more = Error{Errc::truncated, "it ends before the last message"};
      auto one = more ? criu::parse_ipc_message(message) : Result<criu::IpcMessage>(std::move(more).error());
      if (one && ++count > kMaxQueuePackets)
        one = Error{Errc::limit, "over " + with_commas(kMaxQueuePackets) + " messages"};
      if (!one) {
        broken = std::move(one).error();
        break;
      }
      ObjectPacket packet;
      packet.offset_bytes = queue.size_bytes;
      packet.size_bytes = std::min(one->size_bytes, stream->left());
      packet.type = one->type;
      queue.size_bytes += packet.size_bytes;
      queue.places.push_back(stream->at());
      queue.packets.push_back(packet);
      if (auto passed = stream->skip(padded(one->size_bytes, 8)); !passed) broken = std::move(passed).error();
    }
    if (!queue.packets.empty()) {  // what is broken before the first is told below
      ExtractedObject made = object(ObjectKind::sysv, "messages", {});
      made.path = ipc_name(about->about);
      made.uid = about->about.uid;
      made.gid = about->about.gid;
      made.mode = about->about.mode & 07777U;
      if (auto fed = feed_packets(std::move(made), queue, stream->bytes(), feed); !fed) return fed;
      if (broken) feed.miss(*broken);
      if (auto ended = feed.end(queue.size_bytes); !ended) return ended;
    }
    if (broken) return unread(name, *std::move(broken));
  }
}

}  // namespace ctriage::source
