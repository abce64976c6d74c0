// Sockets of a checkpoint.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "lib/proc/address.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::size_t kMaxOwners = 1'000'000;  // processes of all sockets together

bool is_socket(FileKind kind) {
  return kind == FileKind::inet || kind == FileKind::unix_socket || kind == FileKind::packet ||
         kind == FileKind::netlink;
}

// Words as CRIU has them: written little-endian they are in network order.
std::string endpoint_text(const std::vector<std::uint32_t>& words, std::uint16_t port, bool six) {
  std::array<std::byte, 16> bytes{};
  for (std::size_t i = 0; i < words.size() * 4 && i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(words[i / 4] >> (8 * (i % 4)));
  return proc::host_text(std::span(bytes).first(six ? 16 : 4)) + ":" + std::to_string(port);
}

std::string family_of(const criu::FileEntry& entry) {
  if (entry.kind == FileKind::unix_socket) return "unix";
  if (entry.kind == FileKind::packet) return "packet";
  if (entry.kind == FileKind::netlink) return "netlink";
  std::string family = "ip protocol " + std::to_string(entry.protocol);
  if (entry.protocol == IPPROTO_TCP) family = "tcp";
  if (entry.protocol == IPPROTO_UDP) family = "udp";
  if (entry.type == SOCK_RAW) family = "raw";
  return entry.family == AF_INET6 ? family + "6" : family;
}

// unix(7): an abstract name begins with a NUL; /proc/net/unix prints '@' for each. A path ends with one.
std::string unix_name(std::string name) {
  const bool abstract = name.starts_with('\0');
  if (!abstract) {
    while (name.ends_with('\0')) name.pop_back();
    return name;
  }
  std::ranges::replace(name, '\0', '@');
  return name;
}

std::string state_of(const criu::FileEntry& entry) {
  if (entry.kind == FileKind::packet || entry.kind == FileKind::netlink) return {};
  const std::string_view state = proc::tcp_state_name(entry.state);
  const bool has_states = entry.kind == FileKind::inet && entry.protocol == IPPROTO_TCP;
  // The others borrow some: unconnected ones are "CLOSE".
  if (!has_states && state != "ESTABLISHED" && (entry.kind == FileKind::inet || state != "LISTEN")) return {};
  return std::string(state);
}

}  // namespace

// Bytes that a socket has not read, by file id: packets of unix sockets.
std::map<std::uint32_t, std::uint64_t> CheckpointTasks::read_packets(const Task& task) {
  std::map<std::uint32_t, std::uint64_t> queued;
  const auto packet = [&](std::string_view message, criu::ImageReader& reader) -> Status {
    const auto read = criu::parse_packet(message);
    if (!read) return read.error();
    auto data = reader.take(read->length_bytes);
    if (!data) return std::move(data).error();
    queued[read->receiver] += read->length_bytes;
    return Done{};
  };
  each_entry("sk-queues.img", criu::Kind::sk_queues, packet, task);
  return queued;
}

void CheckpointTasks::read_queues(Socket& into, const Task& task) {
  const std::string name = fmt::format("tcp-stream-{:x}.img", into.inode.value);
  if (!has(name)) return;
  const auto head = read_head(name, criu::Kind::tcp_stream);
  const auto stream = head ? criu::parse_tcp_stream(*head) : Result<criu::TcpStream>(head.error());
  if (!stream) return lose(name, stream.error(), task);
  into.receive_queue_bytes = stream->receive_bytes;
  into.send_queue_bytes = stream->send_bytes;
}

Status CheckpointTasks::read_sockets(const Task& task) {
  std::map<FileKey, std::vector<std::int32_t>> owners;
  std::size_t owned = 0;
  bool over = false;
  auto listed = each_fd(
      [&](const CheckpointTask& about, const criu::FdEntry& fd) -> Status {
        if (!is_socket(fd.kind)) return Done{};
        over = owned >= kMaxOwners;
        if (over) return Done{};
        auto& pids = owners[{fd.kind, fd.file}];
        const auto pid = static_cast<std::int32_t>(about.pid);
        if (!pids.empty() && pids.back() == pid) return Done{};
        pids.push_back(pid);
        ++owned;
        return Done{};
      },
      task);
  if (!listed) return listed;
  if (over)
    lose("fdinfo",
         {Errc::limit, "over " + std::to_string(kMaxOwners) + " owners of sockets: the first are listed"},
         task);
  const auto queued = read_packets(task);
  std::map<std::uint64_t, std::string> unix_names;  // by inode, for their peers
  for (const auto& [key, entry] : files_) {
    if (entry.kind == FileKind::unix_socket) unix_names[entry.inode] = unix_name(entry.name);
  }
  for (const auto& [key, entry] : files_) {
    if (!is_socket(entry.kind)) continue;
    Socket socket;
    socket.container = id_;
    socket.family = family_of(entry);
    socket.state = state_of(entry);
    socket.inode = Hex{entry.inode};
    socket.uid = entry.owner;
    socket.network_namespace = Hex{entry.net_ns};
    if (const auto found = owners.find(key); found != owners.end()) socket.pids = found->second;
    if (entry.kind == FileKind::inet) {
      const bool six = entry.family == AF_INET6;
      socket.local = Bytes(endpoint_text(entry.local, entry.local_port, six));
      socket.remote = Bytes(endpoint_text(entry.remote, entry.remote_port, six));
      read_queues(socket, task);
    } else if (entry.kind == FileKind::unix_socket) {
      socket.local = Bytes(unix_name(entry.name));
      if (entry.peer != 0) {
        const auto peer = unix_names.find(entry.peer);
        const bool named = peer != unix_names.end() && !peer->second.empty();
        socket.remote = Bytes(named ? peer->second : "socket:[" + std::to_string(entry.peer) + "]");
      }
      if (const auto found = queued.find(entry.id); found != queued.end())
        socket.receive_queue_bytes = found->second;
    } else if (entry.kind == FileKind::netlink) {
      socket.local = Bytes(std::to_string(entry.protocol) + ":" + std::to_string(entry.port_id));
    }
    sockets.push_back(std::move(socket));
  }
  return Done{};
}

}  // namespace ctriage::source
