#include <gtest/gtest.h>

#include <cstring>

#include "lib/core/text.h"
#include "lib/proc/network.h"
#include "tests/proc_child.h"

namespace ctriage::proc {
namespace {

using ctriage::testing::TaskFixture;

// In one line, for tables of what must come out.
std::string shown(const NetworkEntry& entry) {
  std::string text(to_text(entry.kind));
  const auto add = [&text](std::string_view name, const std::optional<std::string>& value) {
    if (value) text.append(" ").append(name).append("=").append(*value);
  };
  const auto number = [&add](std::string_view name, const auto& value) {
    if (value) add(name, std::to_string(*value));
  };
  add("if", entry.interface.raw);
  add("addr", entry.address);
  number("bits", entry.prefix_bits);
  add("via", entry.gateway);
  if (entry.hardware_address) add("hw", entry.hardware_address->raw);
  number("index", entry.index);
  add("state", entry.state);
  if (entry.flags) number("flags", std::optional(entry.flags->value));
  number("metric", entry.metric);
  number("rx", entry.received_bytes);
  number("rxp", entry.received_packets);
  number("tx", entry.sent_bytes);
  number("txp", entry.sent_packets);
  return text;
}

TEST(ProcNetwork, Lines) {
  const struct {
    const char* table;
    const char* line;
    const char* expected;
  } cases[] = {
      {"dev",
       "  eth0: 119565582    2484    0    0    0     0          0         0   106520    1421    0    0    0  "
       "   "
       "0       0          0",
       "interface if=eth0 rx=119565582 rxp=2484 tx=106520 txp=1421"},
      {"dev", "a|b:18446744073709551615 1 0 0 0 0 0 0 2 3 0 0 0 0 0 0",
       "interface if=a|b rx=18446744073709551615 rxp=1 tx=2 txp=3"},
      {"route", "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0      ",
       "route if=eth0 addr=0.0.0.0 bits=0 via=192.0.2.1 flags=3 metric=0"},
      {"route", "eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0",
       "route if=eth0 addr=192.0.2.0 bits=24 flags=1 metric=100"},
      {"ipv6_route",
       "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
       "fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0",
       "route if=eth0 addr=:: bits=0 via=fd00::1 flags=3 metric=1024"},
      {"ipv6_route",
       "fe8000000000000000fc00fffe000001 80 00000000000000000000000000000000 00 "
       "00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0",
       "route if=eth0 addr=fe80::fc:ff:fe00:1 bits=128 flags=2149580801 metric=0"},
      {"arp", "192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0",
       "neighbour if=eth0 addr=192.0.2.1 hw=02:fc:00:00:00:05 state=complete flags=2"},
      {"arp", "192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0",
       "neighbour if=eth0 addr=192.0.2.9 hw=00:00:00:00:00:00 state=incomplete flags=0"},
      {"arp", "192.0.2.7        0x1         0x6         02:fc:00:00:00:07     *        eth0",
       "neighbour if=eth0 addr=192.0.2.7 hw=02:fc:00:00:00:07 state=permanent flags=6"},
      {"if_inet6", "fe8000000000000000fc00fffe000001 04 40 20 80     eth0",
       "address if=eth0 addr=fe80::fc:ff:fe00:1 bits=64 index=4 state=link flags=128"},
      {"if_inet6", "00000000000000000000000000000001 01 80 10 80       lo",
       "address if=lo addr=::1 bits=128 index=1 state=host flags=128"},
      {"if_inet6", "fd000000000000000000000000000002 04 40 00 82     eth0",
       "address if=eth0 addr=fd00::2 bits=64 index=4 state=global flags=130"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.line);
    auto parsed = parse_network_line(c.table, c.line);
    ASSERT_TRUE(parsed) << parsed.error().what;
    ASSERT_TRUE(*parsed);
    EXPECT_EQ(shown(**parsed), c.expected);
    const std::string_view whole = trim(c.line);
    for (std::size_t size = 0; size < whole.size(); ++size) {  // cut short: an error or less, never a crash
      (void)parse_network_line(c.table, whole.substr(0, size));
    }
    for (const auto& other : cases) (void)parse_network_line(other.table, c.line);
  }
}

TEST(ProcNetwork, HeadingsAndNonsense) {
  const struct {
    const char* table;
    const char* line;
  } headings[] = {{"dev", "Inter-|   Receive                                                |  Transmit"},
                  {"dev", " face |bytes    packets errs drop fifo frame compressed multicast|bytes"},
                  {"route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU"},
                  {"arp", "IP address       HW type     Flags       HW address            Mask     Device"}};
  for (const auto& h : headings) {
    auto parsed = parse_network_line(h.table, h.line);
    ASSERT_TRUE(parsed) << h.line;
    EXPECT_FALSE(*parsed) << h.line;
  }
  const struct {
    const char* table;
    const char* line;
  } wrong[] = {
      {"dev", ""},
      {"dev", ":1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"},
      {"dev", "e:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"},
      {"dev", "e:x 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"},
      {"dev", "e:18446744073709551616 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"},
      {"route", "eth0 0000000 010200C0 0003 0 0 0 00000000 0 0 0"},
      {"route", "eth0 00000000 010200C0 0003 0 0 -1 00000000 0 0 0"},
      {"route", "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0"},
      {"ipv6_route", "00 00 00 00 00 00 00 00 00 eth0"},
      {"ipv6_route",
       "00000000000000000000000000000000 81 00000000000000000000000000000000 00 "
       "00000000000000000000000000000000 00000000 00000002 00000000 80200001 eth0"},
      {"arp", "192.0.2 0x1 0x2 02:fc:00:00:00:05 * eth0"},
      {"arp", "192.0.2.1 0x1 2 02:fc:00:00:00:05 * eth0"},
      {"if_inet6", "fe8000000000000000fc00fffe00000g 04 40 20 80 eth0"},
      {"if_inet6", "fe8000000000000000fc00fffe000001 04 ff 20 80 eth0"},
      {"nope", "eth0"},
  };
  for (const auto& w : wrong) EXPECT_FALSE(parse_network_line(w.table, w.line)) << w.table << ": " << w.line;
}

TEST(ProcNetwork, LocalAddresses) {
  const std::string trie =
      "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
      "        +-- 127.0.0.0/31 1 0 0\n           |-- 127.0.0.0\n              /8 host LOCAL\n"
      "           |-- 127.0.0.1\n              /32 host LOCAL\n        |-- 127.255.255.255\n"
      "           /32 link BROADCAST\n           |-- 192.0.2.0\n              /24 link UNICAST\n"
      "           |-- 192.0.2.2\n              /32 host LOCAL\n              /32 link BROADCAST\n"
      "           |-- not.an.address\n              /32 host LOCAL\nLocal:\n";
  LocalAddresses local;
  std::vector<std::string> found;
  for (const std::string_view line : split(trie, '\n')) {
    if (auto address = local.take(line)) found.push_back(*address);
  }
  EXPECT_EQ(found, (std::vector<std::string>{"127.0.0.1", "192.0.2.2"}));
}

std::vector<std::byte> from_hex(std::string_view digits) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes.push_back(std::byte{*parse_number<std::uint8_t>(digits.substr(i, 2), 16)});
  return bytes;
}

// Dumped from Linux 6.18 with accounting and timestamps: TCP, TCP over IPv6, UDP without an answer.
constexpr std::string_view kTcp =
    "020000003400018014000180080001000a090002080002000a0900011c000280050001000600000006000200c0a0000006000300"
    "1e6100003400028014000180080001000a090001080002000a0900021c0002800500010006000000060002001e61000006000300"
    "c0a00000080003000000000e080008000000000008000c00d5bee12c08000b0000000001080007000006977e300004802c000180"
    "0500010003000000050002000a000000050003000a000000060004002300000006000500230000001c0009800c00010000000000"
    "000000030c00020000000000000000a91c000a800c00010000000000000000020c00020000000000000000701000148"
    "00c00010018ea47e1e5876781";
constexpr std::string_view kTcp6 =
    "0a0000004c0001802c00018014000300fd99000000000000000000000000000214000400fd99000000000000000000000000000"
    "11c0002800500010006000000060002009ffe0000060003001e6200004c0002802c00018014000300fd99000000000000000000"
    "000000000114000400fd9900000000000000000000000000021c0002800500010006000000060002001e620000060003009ffe0"
    "000080003000000000e080008000000000008000c0071f6610d08000b0000000001080007000006977e300004802c0001800500"
    "010003000000050002000a000000050003000a000000060004002300000006000500230000001c0009800c00010000000000000"
    "000020c00020000000000000000981c000a800c00010000000000000000010c000200000000000000005010001"
    "4800c00010018ea47e1e58ef0f7";
constexpr std::string_view kUdp =
    "020000003400018014000180080001000a090002080002000a0900011c000280050001001100000006000200cdd7000006000300"
    "003500003400028014000180080001000a090001080002000a0900021c0002800500010011000000060002000035000006000300"
    "cdd700000800030000000008080008000000000008000c00477a1f7408000b0000000001080007000000001c1c0009800c000100"
    "00000000000000010c000200000000000000001d1c000a800c00010000000000000000000c0002000000000000000000100014"
    "800c00010018ea47e1e5989521";

TEST(ProcNetwork, Flows) {
  auto tcp = parse_flow(from_hex(kTcp));
  ASSERT_TRUE(tcp) << tcp.error().what;
  EXPECT_EQ(tcp->protocol, "tcp");
  EXPECT_EQ(tcp->source, "10.9.0.2:49312");
  EXPECT_EQ(tcp->destination, "10.9.0.1:7777");
  EXPECT_EQ(tcp->reply_source, "10.9.0.1:7777");
  EXPECT_EQ(tcp->reply_destination, "10.9.0.2:49312");
  EXPECT_EQ(tcp->state, "ESTABLISHED");
  EXPECT_EQ(tcp->status, Hex{0xe});
  EXPECT_EQ(tcp->timeout_s, 431'998U);
  EXPECT_EQ(tcp->mark, Hex{0});
  EXPECT_EQ(tcp->sent_packets, 3U);
  EXPECT_EQ(tcp->sent_bytes, 169U);
  EXPECT_EQ(tcp->received_packets, 2U);
  EXPECT_EQ(tcp->received_bytes, 112U);
  ASSERT_TRUE(tcp->started_at);
  EXPECT_EQ(to_rfc3339(*tcp->started_at).substr(0, 10), "2026-11-22");
  EXPECT_EQ(addresses_of(*tcp), (std::vector<std::string>{"10.9.0.2", "10.9.0.1", "10.9.0.1", "10.9.0.2"}));

  auto tcp6 = parse_flow(from_hex(kTcp6));
  ASSERT_TRUE(tcp6) << tcp6.error().what;
  EXPECT_EQ(tcp6->source, "[fd99::2]:40958");
  EXPECT_EQ(tcp6->destination, "[fd99::1]:7778");
  EXPECT_EQ(addresses_of(*tcp6).front(), "fd99::2");

  auto udp = parse_flow(from_hex(kUdp));
  ASSERT_TRUE(udp) << udp.error().what;
  EXPECT_EQ(udp->protocol, "udp");
  EXPECT_EQ(udp->destination, "10.9.0.1:53");
  EXPECT_FALSE(udp->state);
  EXPECT_EQ(udp->received_bytes, 0U);
}

TEST(ProcNetwork, FlowsCutShortAndChanged) {
  for (const std::string_view hex : {kTcp, kTcp6, kUdp}) {
    const auto whole = from_hex(hex);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      (void)parse_flow(std::span(whole).first(size));
      EXPECT_FALSE(size < 64 && parse_flow(std::span(whole).first(size))) << size;
    }
    for (std::size_t at = 4; at < whole.size(); ++at) {  // any length and type field may be anything
      auto other = whole;
      for (const unsigned value : {0U, 1U, 0x7fU, 0xffU}) {
        other[at] = static_cast<std::byte>(value);
        (void)parse_flow(other);
      }
    }
  }
  EXPECT_FALSE(parse_flow({}));
  EXPECT_FALSE(parse_flow(from_hex("02000000")));  // no attributes: no flow
}

class ProcNetworkLive : public ::testing::Test, protected TaskFixture {};

TEST_F(ProcNetworkLive, OurOwnNamespace) {
  auto self = Root::open("/proc/self");
  ASSERT_TRUE(self);
  std::vector<NetworkEntry> entries;
  const Status listed = list_network(
      *self, 1, nullptr,
      [&](NetworkEntry&& entry) -> Status {
        entries.push_back(std::move(entry));
        return Done{};
      },
      task);
  ASSERT_TRUE(listed) << listed.error().what;
  EXPECT_EQ(gaps.total(), 0U);
  bool loopback = false;
  for (const NetworkEntry& entry : entries) {
    EXPECT_NE(entry.network_namespace.value, 0U);
    loopback = loopback || (entry.kind == NetworkKind::interface && entry.interface.raw == "lo");
  }
  EXPECT_TRUE(loopback);
}

}  // namespace
}  // namespace ctriage::proc
