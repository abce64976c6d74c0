// The node's connection tracking by netlink, linux/netfilter/nfnetlink_conntrack.h. A message is
//
//   nlmsghdr  = length type flags sequence port                    machine's order, netlink(7)
//   nfgenmsg  = family version resource                            after it
//   attribute = length type payload, padded to 4                   NLA_F_NESTED: the payload is attributes
//
// and the numbers in payloads are in network order.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/sys_netlink.h"
#include "lib/core/text.h"
#include "lib/proc/address.h"
#include "lib/proc/detail.h"
#include "lib/proc/network.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::size_t kMaxFlows = 65'536;  // of one pod
constexpr std::size_t kReceiveBytes = 64 << 10;
constexpr std::uint32_t kSequence = 1;
constexpr std::uint32_t kAlign = 4;            // NLMSG_ALIGNTO, NLA_ALIGNTO: signed there
constexpr std::uint32_t kAttributeHeader = 4;  // NLA_HDRLEN
constexpr std::uint16_t kTypeMask = 0x3fff;    // NLA_TYPE_MASK
constexpr std::uint32_t kMessageHeader = sizeof(nlmsghdr);

constexpr std::array<std::string_view, 10> kTcpStates = {  // enum tcp_conntrack, from 0
    "NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
    "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};

struct Attribute {
  std::uint16_t type = 0;
  std::span<const std::byte> payload;
};

// Calls `take` with each attribute; errors are those of a length that does not fit.
template <class Take>
Status each_attribute(std::span<const std::byte> bytes, const Take& take) {
  ByteCursor in(bytes, std::endian::native);
  while (!in.at_end()) {
    const auto length = in.u16();
    const auto type = in.u16();
    if (!in.ok() || length < kAttributeHeader)
      return Error{Errc::malformed, "conntrack: an attribute's length"};
    const auto payload = in.take(length - kAttributeHeader);
    if (!in.ok()) return in.error("conntrack attribute");
    if (!in.at_end()) in.align(kAlign);
    take(Attribute{static_cast<std::uint16_t>(type & kTypeMask), payload});
  }
  return Done{};
}

std::optional<std::uint64_t> number_of(const Attribute& attribute, std::size_t width) {
  if (attribute.payload.size() != width) return std::nullopt;
  ByteCursor in(attribute.payload, std::endian::big);
  switch (width) {
    case 1:
      return in.u8();
    case 2:
      return in.u16();
    case 4:
      return in.u32();
    default:
      return in.u64();
  }
}

std::optional<std::string> address_of(const Attribute& attribute) {
  const bool six = attribute.type == CTA_IP_V6_SRC || attribute.type == CTA_IP_V6_DST;
  if (attribute.payload.size() != (six ? 16U : 4U)) return std::nullopt;
  return host_text(attribute.payload);
}

std::string protocol_name(std::uint64_t number) {
  switch (number) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_ICMP:
      return "icmp";
    case IPPROTO_ICMPV6:
      return "icmpv6";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return std::to_string(number);
  }
}

struct Tuple {
  std::string source;
  std::string destination;
  std::optional<std::uint64_t> protocol;
};

Result<Tuple> parse_tuple(std::span<const std::byte> bytes) {
  Tuple tuple;
  std::optional<std::uint64_t> source_port;
  std::optional<std::uint64_t> destination_port;
  const auto take_address = [&](const Attribute& a) {
    auto address = address_of(a);
    if (!address) return;
    const bool source = a.type == CTA_IP_V4_SRC || a.type == CTA_IP_V6_SRC;
    (source ? tuple.source : tuple.destination) = *std::move(address);
  };
  const auto take_protocol = [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTO_NUM:
        tuple.protocol = number_of(a, 1);
        break;
      case CTA_PROTO_SRC_PORT:
      case CTA_PROTO_ICMP_ID:
      case CTA_PROTO_ICMPV6_ID:
        source_port = number_of(a, 2);
        break;
      case CTA_PROTO_DST_PORT:
        destination_port = number_of(a, 2);
        break;
      default:
        break;
    }
  };
  Status inner = Done{};
  const auto take = [&](const Attribute& a) {
    if (!inner) return;
    if (a.type == CTA_TUPLE_IP) inner = each_attribute(a.payload, take_address);
    if (a.type == CTA_TUPLE_PROTO) inner = each_attribute(a.payload, take_protocol);
  };
  if (auto taken = each_attribute(bytes, take); !taken) return std::move(taken).error();
  if (!inner) return std::move(inner).error();
  if (tuple.source.empty() || tuple.destination.empty() || !tuple.protocol)
    return Error{Errc::malformed, "conntrack: a tuple without addresses or protocol"};
  if (source_port) tuple.source += ":" + std::to_string(*source_port);
  if (destination_port) tuple.destination += ":" + std::to_string(*destination_port);
  return tuple;
}

void take_counters(std::span<const std::byte> bytes, std::optional<std::uint64_t>& packets,
                   std::optional<std::uint64_t>& size_bytes) {
  (void)each_attribute(bytes, [&](const Attribute& a) {
    if (a.type == CTA_COUNTERS_PACKETS) packets = number_of(a, 8);
    if (a.type == CTA_COUNTERS_BYTES) size_bytes = number_of(a, 8);
  });
}

std::optional<std::string> tcp_state_of(std::span<const std::byte> bytes) {
  std::optional<std::string> state;
  (void)each_attribute(bytes, [&](const Attribute& of_protocol) {
    if (of_protocol.type != CTA_PROTOINFO_TCP) return;
    (void)each_attribute(of_protocol.payload, [&](const Attribute& a) {
      const auto number = a.type == CTA_PROTOINFO_TCP_STATE ? number_of(a, 1) : std::nullopt;
      if (number && *number < kTcpStates.size()) state = kTcpStates[*number];
    });
  });
  return state;
}

std::string without_port(const std::string& end) {
  if (end.starts_with('[')) return end.substr(1, end.find(']') - 1);
  return end.substr(0, end.find(':'));
}

std::array<std::byte, kMessageHeader + sizeof(nfgenmsg)> dump_request() {
  nlmsghdr header{};
  nfgenmsg general{};
  header.nlmsg_len = kMessageHeader + sizeof general;
  header.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = kSequence;
  general.nfgen_family = AF_UNSPEC;
  general.version = NFNETLINK_V0;
  std::array<std::byte, kMessageHeader + sizeof(nfgenmsg)> request{};
  std::memcpy(request.data(), &header, sizeof header);
  std::memcpy(request.data() + kMessageHeader, &general, sizeof general);
  return request;
}

Gap gap(Impact impact, Error error) { return {impact, "node.conntrack", "netlink", std::move(error)}; }

class Dump {
 public:
  Dump(const std::set<std::string>& addresses, const Emit<Flow>& emit, Task& task)
      : addresses_(addresses), emit_(emit), task_(task) {}

  // True when the dump has ended.
  Result<bool> take(std::span<const std::byte> datagram) {
    ByteCursor in(datagram, std::endian::native);
    while (!in.at_end()) {
      const auto length = in.u32();
      const auto type = in.u16();
      const auto flags = in.u16();
      const auto sequence = in.u32();
      (void)in.u32();  // port
      if (!in.ok() || length < kMessageHeader) return Error{Errc::malformed, "conntrack: a message's length"};
      const auto payload = in.take(length - kMessageHeader);
      if (!in.ok()) return in.error("conntrack message");
      if (!in.at_end()) in.align(kAlign);
      if (sequence != kSequence) continue;
      interrupted_ = interrupted_ || (flags & NLM_F_DUMP_INTR) != 0;
      if (type == NLMSG_ERROR || type == NLMSG_DONE) {
        ByteCursor answer(payload, std::endian::native);
        const int number = -static_cast<std::int32_t>(answer.u32());
        if (answer.ok() && number > 0) return system_error(number, "dump connection tracking");
        if (type == NLMSG_DONE) return true;
        continue;
      }
      if (type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)) continue;
      if (auto taken = take_flow(payload); !taken) return std::move(taken).error();
    }
    return false;
  }
  [[nodiscard]] bool interrupted() const { return interrupted_; }

 private:
  Status take_flow(std::span<const std::byte> message) {
    auto flow = parse_flow(message);
    if (!flow) {
      task_.gaps.add(gap(Impact::lost, std::move(flow).error()));
      return Done{};
    }
    bool ours = false;
    for (const std::string& address : addresses_of(*flow)) ours = ours || addresses_.contains(address);
    if (!ours) return Done{};
    if (++count_ > kMaxFlows) {
      if (count_ == kMaxFlows + 1)
        task_.gaps.add(gap(Impact::lost, {Errc::limit, "more than " + std::to_string(kMaxFlows) + " flows"}));
      return Done{};
    }
    return emit_(*std::move(flow));
  }

  const std::set<std::string>& addresses_;
  const Emit<Flow>& emit_;
  Task& task_;
  std::size_t count_ = 0;
  bool interrupted_ = false;
};

// What is asked of a module that is not there makes the kernel load it, request_module(): that would change
// the node.
bool may_be_asked(const Root& proc, std::int32_t host, const std::string& release) {
  const auto modules = proc.read_file_in_root("modules", kMaxProcTextBytes);
  if (!modules) return modules.error().code == Errc::not_found;  // a kernel without modules has all it has
  if (modules->starts_with("nf_conntrack_netlink ") ||
      modules->find("\nnf_conntrack_netlink ") != std::string::npos)
    return true;
  const auto root = proc.descend_magic(std::to_string(host) + "/root");
  if (!root) return false;
  const auto builtin =
      root->read_file_in_root("lib/modules/" + release + "/modules.builtin", kMaxProcTextBytes);
  return builtin && builtin->find("/nf_conntrack_netlink.ko") != std::string::npos;
}

}  // namespace

Result<Flow> parse_flow(std::span<const std::byte> message) {
  ByteCursor in(message, std::endian::native);
  (void)in.take(sizeof(nfgenmsg));
  if (!in.ok()) return in.error("conntrack message");
  Flow flow;
  Status inner = Done{};
  std::optional<Tuple> original;
  std::optional<Tuple> reply;
  const auto take_tuple = [&](std::span<const std::byte> bytes, std::optional<Tuple>& into) {
    auto tuple = parse_tuple(bytes);
    if (tuple) {
      into = *std::move(tuple);
    } else if (inner) {
      inner = std::move(tuple).error();
    }
  };
  const auto take = [&](const Attribute& a) {
    switch (a.type) {
      case CTA_TUPLE_ORIG:
        return take_tuple(a.payload, original);
      case CTA_TUPLE_REPLY:
        return take_tuple(a.payload, reply);
      case CTA_STATUS:
        flow.status = Hex{number_of(a, 4).value_or(0)};
        return;
      case CTA_TIMEOUT:
        if (const auto seconds = number_of(a, 4)) flow.timeout_s = static_cast<std::uint32_t>(*seconds);
        return;
      case CTA_MARK:
        if (const auto mark = number_of(a, 4)) flow.mark = Hex{*mark};
        return;
      case CTA_ZONE:
        if (const auto zone = number_of(a, 2)) flow.zone = static_cast<std::uint32_t>(*zone);
        return;
      case CTA_PROTOINFO:
        flow.state = tcp_state_of(a.payload);
        return;
      case CTA_COUNTERS_ORIG:
        return take_counters(a.payload, flow.sent_packets, flow.sent_bytes);
      case CTA_COUNTERS_REPLY:
        return take_counters(a.payload, flow.received_packets, flow.received_bytes);
      case CTA_TIMESTAMP:
        (void)each_attribute(a.payload, [&](const Attribute& at) {
          constexpr std::uint64_t kNanoseconds = 1'000'000'000;
          const auto ns = at.type == CTA_TIMESTAMP_START ? number_of(at, 8) : std::nullopt;
          if (ns)
            flow.started_at = Timestamp{static_cast<std::int64_t>(*ns / kNanoseconds),
                                        static_cast<std::uint32_t>(*ns % kNanoseconds)};
        });
        return;
      default:
        return;
    }
  };
  if (auto taken = each_attribute(message.subspan(sizeof(nfgenmsg)), take); !taken)
    return std::move(taken).error();
  if (!inner) return std::move(inner).error();
  if (!original || !reply) return Error{Errc::malformed, "conntrack: a flow without both directions"};
  flow.protocol = protocol_name(*original->protocol);
  flow.source = std::move(original->source);
  flow.destination = std::move(original->destination);
  flow.reply_source = std::move(reply->source);
  flow.reply_destination = std::move(reply->destination);
  return flow;
}

std::vector<std::string> addresses_of(const Flow& flow) {
  return {without_port(flow.source), without_port(flow.destination), without_port(flow.reply_source),
          without_port(flow.reply_destination)};
}

Result<UniqueFd> open_conntrack(const Root& proc, std::int32_t host, const std::string& release) {
  const auto self = proc.read_link_beneath("self");
  if (!self) return self.error();
  const auto own = read_namespace_at(proc, *self, "net");
  if (!own) return own.error();
  const auto of_node = read_namespace(proc, host, "net");
  if (!of_node) return of_node.error();
  if (*own != *of_node) {
    return Error{
        Errc::mismatch,
        "ctriage is not in the node's network namespace: what the node tracks is not seen from here"};
  }
  const auto counter = proc.stat_in_root("sys/net/netfilter/nf_conntrack_count");
  if (!counter) {
    if (counter.error().code != Errc::not_found) return counter.error();
    return Error{Errc::unsupported, "this kernel does not track connections (no nf_conntrack)"};
  }
  if (!may_be_asked(proc, host, release)) {
    return Error{Errc::unsupported,
                 "nf_conntrack_netlink is not loaded, and asking would make the kernel load it"};
  }
  return sys::netlink_open(NETLINK_NETFILTER);
}

Status list_flows(int socket, const std::set<std::string>& addresses, const Emit<Flow>& emit, Task& task) {
  const auto request = dump_request();
  if (auto sent = sys::netlink_send(socket, request); !sent) return sent;
  Dump dump(addresses, emit, task);
  std::vector<std::byte> datagram(kReceiveBytes);
  for (;;) {
    if (auto going = task.check(); !going) return going;
    std::array<pollfd, 1> watched{{{socket, POLLIN, 0}}};
    const auto ready = sys::poll(watched, kReadTimeoutNs);
    if (!ready) {
      if (ready.error().number == EINTR) continue;
      return ready.error();
    }
    if (*ready == 0) return Error{Errc::io, "connection tracking: no answer in time"};
    const auto got = sys::netlink_receive(socket, datagram);
    if (!got) return got.error();
    if (!got->from_kernel) continue;
    if (!got->whole) return Error{Errc::truncated, "connection tracking: an answer larger than announced"};
    const auto ended = dump.take(std::span(datagram).first(got->size));
    if (!ended) return ended.error();
    if (*ended) break;
  }
  if (dump.interrupted()) {
    task.gaps.add(gap(Impact::note, {Errc::changed, "the table changed while it was read"}));
  }
  return Done{};
}

}  // namespace ctriage::proc
