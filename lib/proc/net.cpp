// One line of the tables below /proc/PID/net, proc_pid_net(5):
//
//   tcp, udp, raw (and 6) = sl ":" local remote state tx ":" rx timer ":" when retransmits uid timeout inode
//   refs pointer ... address               = 8 hex digits (32 for the 6): each group of 8 is a little-endian
//   word; ":" port as hex unix                  = pointer ":" refs protocol flags type state inode [ " " path
//   ] packet                = pointer refs type protocol interface running rmem uid inode netlink = pointer
//   protocol portid groups rmem wmem dump locks drops inode
#include <array>

#include "lib/core/text.h"
#include "lib/proc/address.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

Error bad(std::string_view family, std::string_view what) {
  return {Errc::malformed, std::string(family).append(": ").append(what)};
}

std::optional<std::string> format_address(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.size() - colon != 5) return std::nullopt;
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1), 16);
  const std::string_view digits = text.substr(0, colon);
  if (!port || (digits.size() != 8 && digits.size() != 32)) return std::nullopt;

  std::array<std::byte, 16> bytes{};
  for (std::size_t word = 0; word < digits.size() / 8; ++word) {
    const auto value = parse_number<std::uint32_t>(digits.substr(word * 8, 8), 16);
    if (!value) return std::nullopt;
    for (std::size_t i = 0; i < 4; ++i) bytes[word * 4 + i] = static_cast<std::byte>(*value >> (8 * i));
  }
  return host_text(std::span(bytes).first(digits.size() / 2)) + ":" + std::to_string(*port);
}

Result<Socket> parse_inet(std::string_view family, std::string_view line) {
  const auto fields = split_fields(line);
  // inode is field 9; two more always follow, so that an inode which is cut is not taken for a smaller one.
  if (fields.size() < 12)
    return Error{Errc::truncated, std::string(family) + ": a line with too few columns"};
  if (!fields[0].ends_with(':')) return bad(family, "no slot");
  const auto local = format_address(fields[1]);
  const auto remote = format_address(fields[2]);
  if (!local || !remote) return bad(family, "no address and port");
  const auto state = parse_number<std::uint8_t>(fields[3], 16);
  if (!state) return bad(family, "no state");
  const std::size_t colon = fields[4].find(':');
  if (colon == std::string_view::npos) return bad(family, "no queues");
  const auto sent = parse_number<std::uint64_t>(fields[4].substr(0, colon), 16);
  const auto received = parse_number<std::uint64_t>(fields[4].substr(colon + 1), 16);
  const auto uid = parse_number<std::uint32_t>(fields[7]);
  const auto inode = parse_number<std::uint64_t>(fields[9]);
  if (!sent || !received || !uid || !inode) return bad(family, "a column is no number");

  Socket socket;
  socket.family = family;
  const bool has_states = family.starts_with("tcp");
  // UDP and raw sockets borrow 1 (connected) and 7 (not).
  if (has_states || *state == 1) socket.state = tcp_state_name(*state);
  socket.local = Bytes(*local);
  socket.remote = Bytes(*remote);
  socket.inode = Hex{*inode};
  socket.uid = *uid;
  socket.receive_queue_bytes = *received;
  socket.send_queue_bytes = *sent;
  return socket;
}

// net/unix/af_unix.c unix_seq_show. The path is the rest of the line; NULs in it are printed as '@', newlines
// as they are.
Result<Socket> parse_unix(std::string_view line) {
  std::string_view rest = line;
  const std::string_view pointer = next_field(rest);
  const std::string_view references = next_field(rest);
  const std::string_view protocol = next_field(rest);
  const auto flags = parse_number<std::uint32_t>(next_field(rest), 16);
  const auto type = parse_number<std::uint16_t>(next_field(rest), 16);
  const auto state = parse_number<std::uint8_t>(next_field(rest), 16);
  const auto inode = parse_number<std::uint64_t>(next_field(rest));
  if (!pointer.ends_with(':') || !parse_number<std::uint32_t>(references, 16) ||
      !parse_number<std::uint32_t>(protocol, 16) || !flags || !type || !state || !inode) {
    return bad("unix", "not a socket");
  }
  constexpr std::uint32_t kAcceptsConnections = 1U << 16;  // __SO_ACCEPTCON
  Socket socket;
  socket.family = "unix";
  if ((*flags & kAcceptsConnections) != 0) {
    socket.state = "LISTEN";
  } else if (*state == 3) {  // include/uapi/linux/net.h socket_state
    socket.state = "ESTABLISHED";
  } else if (*state == 2) {
    socket.state = "CONNECTING";
  } else if (*state == 4) {
    socket.state = "DISCONNECTING";
  }
  socket.inode = Hex{*inode};
  if (!rest.empty())
    socket.local = Bytes(std::string(rest.substr(1)));  // one blank; the path may begin with another
  return socket;
}

// Local: "0x0003:2", protocol (0x0003 sees all) and interface index (0: every interface).
Result<Socket> parse_packet(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() < 9) return Error{Errc::truncated, "packet: a line with too few columns"};
  const auto protocol = parse_number<std::uint16_t>(fields[3], 16);
  const auto interface = parse_number<std::int32_t>(fields[4]);
  const auto received = parse_number<std::uint64_t>(fields[6]);
  const auto uid = parse_number<std::uint32_t>(fields[7]);
  const auto inode = parse_number<std::uint64_t>(fields[8]);
  if (!protocol || !interface || !received || !uid || !inode) return bad("packet", "a column is no number");
  Socket socket;
  socket.family = "packet";
  socket.local = Bytes("0x" + std::string(fields[3]) + ":" + std::string(fields[4]));
  socket.receive_queue_bytes = *received;
  socket.uid = *uid;
  socket.inode = Hex{*inode};
  return socket;
}

// Local: "15:4711", protocol (netlink(7): 0 route, 9 audit, 15 uevent) and port.
Result<Socket> parse_netlink(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() < 10) return Error{Errc::truncated, "netlink: a line with too few columns"};
  const auto protocol = parse_number<std::uint32_t>(fields[1]);
  const auto port =
      parse_number<std::int64_t>(fields[2]);  // %-10d in old kernels: negative for kernel-chosen ports
  const auto received = parse_number<std::int64_t>(fields[4]);
  const auto sent = parse_number<std::int64_t>(fields[5]);
  const auto inode = parse_number<std::uint64_t>(fields[9]);
  if (!protocol || !port || !received || !sent || !inode) return bad("netlink", "a column is no number");
  Socket socket;
  socket.family = "netlink";
  socket.local = Bytes(std::to_string(*protocol) + ":" + std::to_string(static_cast<std::uint32_t>(*port)));
  socket.receive_queue_bytes = static_cast<std::uint64_t>(*received < 0 ? 0 : *received);
  socket.send_queue_bytes = static_cast<std::uint64_t>(*sent < 0 ? 0 : *sent);
  socket.inode = Hex{*inode};
  return socket;
}

bool is_heading(std::string_view line) {
  const auto fields = split_fields(line);
  return fields.size() > 2 && ((fields[0] == "sl" && fields[1] == "local_address") ||
                               (fields[0] == "Num" && fields[1] == "RefCount") ||
                               (fields[0] == "sk" && (fields[1] == "RefCnt" || fields[1] == "Eth")));
}

}  // namespace

Result<std::optional<Socket>> parse_net_line(std::string_view family, std::string_view line) {
  if (is_heading(line)) return std::optional<Socket>{};
  auto socket = family == "unix"      ? parse_unix(line)
                : family == "packet"  ? parse_packet(line)
                : family == "netlink" ? parse_netlink(line)
                                      : parse_inet(family, line);
  if (!socket) return std::move(socket).error();
  const bool six = socket->local.view().starts_with('[');
  if ((family == "tcp" || family == "udp" || family == "raw") && six) return bad(family, "an IPv6 address");
  if (family.ends_with('6') && !six) return bad(family, "an IPv4 address");
  return std::optional<Socket>(*std::move(socket));
}

}  // namespace ctriage::proc
