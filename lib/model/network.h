#pragma once
// How a pod is connected: its network namespace, and the node's connection tracking of its addresses.
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

enum class NetworkKind : std::uint8_t { interface, address, route, neighbour };
constexpr auto enum_names(NetworkKind) {
  return std::array<std::string_view, 4>{"interface", "address", "route", "neighbour"};
}

struct NetworkEntry {
  Hex network_namespace;
  NetworkKind kind = NetworkKind::interface;
  Bytes interface;
  std::optional<std::string> address;
  std::optional<std::uint32_t> prefix_bits;
  std::optional<std::string> gateway;
  std::optional<Bytes> hardware_address;
  std::optional<std::uint32_t> index;
  std::optional<std::uint32_t> peer_index;
  std::optional<std::uint32_t> mtu_bytes;
  std::optional<std::string> state;
  std::optional<Hex> flags;
  std::optional<std::uint32_t> metric;
  std::optional<std::uint64_t> received_bytes;
  std::optional<std::uint64_t> received_packets;
  std::optional<std::uint64_t> sent_bytes;
  std::optional<std::uint64_t> sent_packets;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("network_namespace", self.network_namespace, "inode of the namespace");
    v("kind", self.kind, "what this line is about");
    v("interface", self.interface, "name; of an IPv4 address: the one whose network it lies in");
    v("address", self.address, "own address, a route's destination, or a neighbour's address");
    v("prefix_bits", self.prefix_bits, "of address");
    v("gateway", self.gateway, "of a route: the next hop");
    v("hardware_address", self.hardware_address, "of a neighbour or an interface");
    v("index", self.index, "interface number in the namespace");
    v("peer_index", self.peer_index, "interface number of the other end: of a veth, on the node");
    v("mtu_bytes", self.mtu_bytes, "largest packet");
    v("state", self.state,
      "interface: up, down, ...; neighbour: complete, incomplete, permanent; IPv6 address: link, site, host, "
      "global");
    v("flags", self.flags, "of a route: RTF_*; of a neighbour: ATF_*; of an IPv6 address: IFA_F_*");
    v("metric", self.metric, "of a route");
    v("received_bytes", self.received_bytes, "of an interface since it was made");
    v("received_packets", self.received_packets, "of an interface since it was made");
    v("sent_bytes", self.sent_bytes, "of an interface since it was made");
    v("sent_packets", self.sent_packets, "of an interface since it was made");
  }
};

struct Flow {  // one entry of the node's connection tracking
  std::string protocol;
  std::string source;
  std::string destination;
  std::string reply_source;
  std::string reply_destination;
  std::optional<std::string> state;
  Hex status;
  std::optional<std::uint32_t> timeout_s;
  std::optional<Hex> mark;
  std::optional<std::uint32_t> zone;
  std::optional<std::uint64_t> sent_bytes;
  std::optional<std::uint64_t> sent_packets;
  std::optional<std::uint64_t> received_bytes;
  std::optional<std::uint64_t> received_packets;
  std::optional<Timestamp> started_at;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("protocol", self.protocol, "tcp, udp, icmp, icmpv6, sctp, or its number");
    v("source", self.source, "who opened it: address and port, or ICMP id");
    v("destination", self.destination, "as who opened it sees it: a service's address, before translation");
    v("reply_source", self.reply_source, "who answers: the address behind a service");
    v("reply_destination", self.reply_destination, "whom it answers: the source after translation");
    v("state", self.state, "of TCP");
    v("status", self.status,
      "IPS_*: 0x2 saw an answer, 0x4 assured, 0x10 source, 0x20 destination translated");
    v("timeout_s", self.timeout_s, "seconds until it is forgotten, if nothing comes");
    v("mark", self.mark, "set by rules of the node");
    v("zone", self.zone, "connection tracking zone");
    v("sent_bytes", self.sent_bytes, "by who opened it; only with net.netfilter.nf_conntrack_acct");
    v("sent_packets", self.sent_packets, "the same");
    v("received_bytes", self.received_bytes, "by who opened it");
    v("received_packets", self.received_packets, "the same");
    v("started_at", self.started_at, "only with net.netfilter.nf_conntrack_timestamp");
  }
};

}  // namespace ctriage
