// The tables of /proc/PID/net, proc_pid_net(5):
//
//   dev         = name ":" rx_bytes packets errs drop fifo frame compressed multicast tx_bytes packets ...
//   route       = name destination gateway flags refs use metric mask mtu window irtt; addresses are the
//                 hexadecimal number of a word in the machine's order
//   ipv6_route  = destination bits source bits next_hop metric refs use flags name; 32 hex digits as written
//   arp         = address type flags hardware_address mask name
//   if_inet6    = address index bits scope flags name; numbers in hexadecimal
#include "lib/proc/network.h"

#include <arpa/inet.h>
#include <linux/magic.h>
#include <netinet/in.h>

#include <array>
#include <bit>
#include <cstring>

#include "lib/core/limits.h"
#include "lib/core/stream.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/address.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::size_t kMaxEntries = 65'536;  // of one table

using Parsed = Result<std::optional<NetworkEntry>>;

Error bad(std::string_view table, std::string_view what) {
  return {Errc::malformed, std::string(table).append(": ").append(what)};
}

// A word as the kernel holds it, printed as a number: its bytes in memory are the address.
std::optional<std::uint32_t> word_of(std::string_view digits) {
  if (digits.size() != 8) return std::nullopt;
  return parse_number<std::uint32_t>(digits, 16);
}

std::optional<std::string> v4_of(std::string_view digits) {
  const auto word = word_of(digits);
  if (!word) return std::nullopt;
  return address_text(std::as_bytes(std::span(&*word, 1)));
}

std::optional<std::string> v6_of(std::string_view digits) {
  if (digits.size() != 32) return std::nullopt;
  std::array<std::byte, 16> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto value = parse_number<std::uint8_t>(digits.substr(2 * i, 2), 16);
    if (!value) return std::nullopt;
    bytes[i] = std::byte{*value};
  }
  return address_text(bytes);
}

Parsed parse_dev(std::string_view line) {
  const std::size_t colon = line.find(':');  // no name has one, dev_valid_name()
  if (line.find('|') != std::string_view::npos && colon == std::string_view::npos)
    return std::optional<NetworkEntry>{};
  if (colon == std::string_view::npos) return bad("dev", "no name");
  const auto name = trim(line.substr(0, colon));
  const auto fields = split_fields(line.substr(colon + 1));
  if (name.empty() || fields.size() < 16) return Error{Errc::truncated, "dev: too few columns"};
  const auto number = [&](std::size_t i) { return parse_number<std::uint64_t>(fields[i]); };
  NetworkEntry entry;
  entry.kind = NetworkKind::interface;
  entry.interface = Bytes(std::string(name));
  entry.received_bytes = number(0);
  entry.received_packets = number(1);
  entry.sent_bytes = number(8);
  entry.sent_packets = number(9);
  if (!entry.received_bytes || !entry.received_packets || !entry.sent_bytes || !entry.sent_packets)
    return bad("dev", "a column is no number");
  return std::optional(entry);
}

Parsed parse_route(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() > 1 && fields[0] == "Iface" && fields[1] == "Destination")
    return std::optional<NetworkEntry>{};
  if (fields.size() < 11) return Error{Errc::truncated, "route: too few columns"};
  const auto destination = v4_of(fields[1]);
  const auto gateway = v4_of(fields[2]);
  const auto flags = parse_number<std::uint32_t>(fields[3], 16);
  const auto metric = parse_number<std::uint32_t>(fields[6]);
  const auto mask = word_of(fields[7]);
  if (!destination || !gateway || !flags || !metric || !mask) return bad("route", "a column is no number");
  NetworkEntry entry;
  entry.kind = NetworkKind::route;
  entry.interface = Bytes(std::string(fields[0]));
  entry.address = destination;
  entry.prefix_bits = static_cast<std::uint32_t>(std::popcount(*mask));
  if (*gateway != "0.0.0.0") entry.gateway = gateway;
  entry.flags = Hex{*flags};
  entry.metric = metric;
  return std::optional(entry);
}

Parsed parse_ipv6_route(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() < 10) return Error{Errc::truncated, "ipv6_route: too few columns"};
  const auto destination = v6_of(fields[0]);
  const auto bits = parse_number<std::uint8_t>(fields[1], 16);
  const auto next_hop = v6_of(fields[4]);
  const auto metric = parse_number<std::uint32_t>(fields[5], 16);
  const auto flags = parse_number<std::uint32_t>(fields[8], 16);
  if (!destination || !bits || *bits > 128 || !next_hop || !metric || !flags)
    return bad("ipv6_route", "a column is no number");
  NetworkEntry entry;
  entry.kind = NetworkKind::route;
  entry.interface = Bytes(std::string(fields[9]));
  entry.address = destination;
  entry.prefix_bits = *bits;
  if (*next_hop != "::") entry.gateway = next_hop;
  entry.flags = Hex{*flags};
  entry.metric = metric;
  return std::optional(entry);
}

Parsed parse_arp(std::string_view line) {
  if (line.starts_with("IP address")) return std::optional<NetworkEntry>{};
  const auto fields = split_fields(line);
  if (fields.size() < 6) return Error{Errc::truncated, "arp: too few columns"};
  in_addr address{};
  const auto flags =
      fields[2].starts_with("0x") ? parse_number<std::uint32_t>(fields[2].substr(2), 16) : std::nullopt;
  if (::inet_pton(AF_INET, std::string(fields[0]).c_str(), &address) != 1 || !flags)
    return bad("arp", "no address or no flags");
  NetworkEntry entry;
  entry.kind = NetworkKind::neighbour;
  entry.interface = Bytes(std::string(fields[5]));
  entry.address = std::string(fields[0]);
  entry.hardware_address = Bytes(std::string(fields[3]));
  entry.flags = Hex{*flags};
  constexpr std::uint32_t kComplete = 2;   // ATF_COM, if_arp.h
  constexpr std::uint32_t kPermanent = 4;  // ATF_PERM
  entry.state = (*flags & kPermanent) != 0  ? "permanent"
                : (*flags & kComplete) != 0 ? "complete"
                                            : "incomplete";
  return std::optional(entry);
}

Parsed parse_if_inet6(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() < 6) return Error{Errc::truncated, "if_inet6: too few columns"};
  const auto address = v6_of(fields[0]);
  const auto index = parse_number<std::uint32_t>(fields[1], 16);
  const auto bits = parse_number<std::uint8_t>(fields[2], 16);
  const auto scope = parse_number<std::uint8_t>(fields[3], 16);
  const auto flags = parse_number<std::uint32_t>(fields[4], 16);
  if (!address || !index || !bits || *bits > 128 || !scope || !flags)
    return bad("if_inet6", "a column is no number");
  NetworkEntry entry;
  entry.kind = NetworkKind::address;
  entry.interface = Bytes(std::string(fields[5]));
  entry.address = address;
  entry.prefix_bits = *bits;
  entry.index = index;
  entry.flags = Hex{*flags};
  switch (*scope) {  // net/ipv6.h IPV6_ADDR_*
    case 0x10:
      entry.state = "host";
      break;
    case 0x20:
      entry.state = "link";
      break;
    case 0x40:
      entry.state = "site";
      break;
    default:
      entry.state = "global";
  }
  return std::optional(entry);
}

// Interfaces by what the sysfs of the namespace says of them, sysfs(5) class/net.
void ask_sysfs(const Root& sysfs, NetworkEntry& entry) {
  constexpr std::size_t kMostBytes = 4'096;
  const auto text = [&](std::string_view name) -> std::optional<std::string> {
    auto file = sysfs.open_in_root("class/net/" + entry.interface.raw + "/" + std::string(name));
    if (!file) return std::nullopt;
    const auto on = sys::statfs(file->get(), name);
    if (!on || on->f_type != SYSFS_MAGIC) return std::nullopt;  // something was mounted over it
    std::array<std::byte, kMostBytes> bytes{};
    const auto got = sys::pread_full(file->get(), bytes, 0, name);
    if (!got) return std::nullopt;
    return std::string(trim(std::string_view(reinterpret_cast<const char*>(bytes.data()), *got)));
  };
  const auto number = [&](std::string_view name) -> std::optional<std::uint32_t> {
    const auto found = text(name);
    return found ? parse_number<std::uint32_t>(*found) : std::nullopt;
  };
  entry.index = number("ifindex");
  if (const auto peer = number("iflink"); peer && peer != entry.index) entry.peer_index = peer;
  entry.mtu_bytes = number("mtu");
  if (auto address = text("address"); address && !address->empty())
    entry.hardware_address = Bytes(*std::move(address));
  if (auto state = text("operstate"); state && is_utf8(*state)) entry.state = *std::move(state);
}

struct Connected {  // a network that an interface is in
  std::uint32_t network = 0;
  std::uint32_t mask = 0;
  Bytes interface;
};

class Tables {
 public:
  Tables(const Root& process, std::int32_t pid, const Root* sysfs, const Emit<NetworkEntry>& emit, Task& task)
      : process_(process), pid_(pid), sysfs_(sysfs), emit_(emit), task_(task) {}

  Status list() {
    if (auto inode = read_namespace(process_, "net")) {
      net_ = *inode;
    } else if (is_gone(inode.error())) {
      return Error{Errc::vanished, origin_of(pid_) + ": has no network namespace any more"};
    } else {
      task_.gaps.add(gap_of("network", origin_of(pid_), std::move(inode).error(), Impact::degraded));
    }
    if (auto listed = table("dev"); !listed) return listed;
    if (auto listed = table("route"); !listed) return listed;
    if (auto listed = addresses(); !listed) return listed;
    for (const std::string_view name : {"if_inet6", "ipv6_route", "arp"}) {
      if (auto listed = table(name); !listed) return listed;
    }
    return Done{};
  }

 private:
  template <class Take>
  Status each_line(std::string_view name, const Take& take) {
    const std::string path = std::string("net/").append(name);
    auto file = process_.open_in_root(path);
    if (!file) {
      // No IPv6 in this kernel, or the process is gone: then its namespace cannot be read either.
      if (file.error().code == Errc::not_found && read_namespace(process_, "net")) return Done{};
      task_.gaps.add(gap_of("network", origin_of(pid_) + "/" + path, std::move(file).error()));
      return Done{};
    }
    FdSource source(*std::move(file), path, task_);
    LineReader lines(source, kMaxLineBytes);
    std::string_view line;
    for (std::size_t count = 0;; ++count) {
      auto more = lines.next(line);
      if (!more) {
        if (auto going = task_.check(); !going) return going;
        task_.gaps.add(gap_of("network", origin_of(pid_) + "/" + path, std::move(more).error()));
        return Done{};
      }
      if (!*more) return Done{};
      if (count >= kMaxEntries) {
        task_.gaps.add(gap_of("network", origin_of(pid_) + "/" + path,
                              {Errc::limit, "more than " + std::to_string(kMaxEntries) + " lines"}));
        return Done{};
      }
      if (auto taken = take(line); !taken) return taken;
    }
  }

  Status give(NetworkEntry&& entry) {
    entry.network_namespace = net_;
    return emit_(std::move(entry));
  }

  Status table(std::string_view name) {
    return each_line(name, [&](std::string_view line) -> Status {
      auto entry = parse_network_line(name, line);
      if (!entry) {
        task_.gaps.add(gap_of("network", origin_of(pid_) + "/net/" + std::string(name), entry.error()));
        return Done{};
      }
      if (!*entry) return Done{};
      if (name == "dev" && sysfs_ != nullptr) ask_sysfs(*sysfs_, **entry);
      if (name == "route") remember(line);
      return give(**std::move(entry));
    });
  }

  void remember(std::string_view line) {
    const auto fields = split_fields(line);
    const auto network = word_of(fields[1]);
    const auto gateway = word_of(fields[2]);
    const auto mask = word_of(fields[7]);
    constexpr std::size_t kMostConnected = 256;  // beyond, an address has no interface
    if (gateway == 0U && network && mask && connected_.size() < kMostConnected)
      connected_.push_back({*network, *mask, Bytes(std::string(fields[0]))});
  }

  Status addresses() {
    LocalAddresses local;
    std::set<std::string> seen;  // the tables main and local may be one, printed twice
    return each_line("fib_trie", [&](std::string_view line) -> Status {
      auto address = local.take(line);
      if (!address || !seen.insert(*address).second) return Done{};
      NetworkEntry entry;
      entry.kind = NetworkKind::address;
      std::uint32_t word = 0;
      ::inet_pton(AF_INET, address->c_str(), &word);
      int best = -1;
      for (const Connected& network : connected_) {
        const int bits = std::popcount(network.mask);
        if ((word & network.mask) != network.network || bits <= best) continue;
        best = bits;
        entry.interface = network.interface;
        entry.prefix_bits = static_cast<std::uint32_t>(bits);
      }
      if (address->starts_with("127.")) entry.interface = Bytes("lo");
      entry.address = std::move(address);
      return give(std::move(entry));
    });
  }

  const Root& process_;
  std::int32_t pid_;
  const Root* sysfs_;
  const Emit<NetworkEntry>& emit_;
  Task& task_;
  Hex net_;
  std::vector<Connected> connected_;
};

}  // namespace

Parsed parse_network_line(std::string_view table, std::string_view line) {
  if (table == "dev") return parse_dev(line);
  if (table == "route") return parse_route(line);
  if (table == "ipv6_route") return parse_ipv6_route(line);
  if (table == "arp") return parse_arp(line);
  if (table == "if_inet6") return parse_if_inet6(line);
  return bad(table, "not a table that is known");
}

// fib_trie_seq_show(): a leaf is "|-- ADDRESS" and below it one line for each of its prefixes,
// "/BITS SCOPE TYPE [tos=N]".
std::optional<std::string> LocalAddresses::take(std::string_view line) {
  const auto fields = split_fields(line);
  if (fields.size() == 2 && fields[0] == "|--") {
    in_addr address{};
    leaf_ = std::string(fields[1]);
    if (::inet_pton(AF_INET, leaf_.c_str(), &address) != 1) leaf_.clear();
    return std::nullopt;
  }
  if (fields.size() < 3 || fields[0] != "/32" || fields[2] != "LOCAL" || leaf_.empty()) return std::nullopt;
  return leaf_;
}

Status list_network(const Root& process, std::int32_t pid, const Root* sysfs, const Emit<NetworkEntry>& emit,
                    Task& task) {
  return Tables(process, pid, sysfs, emit, task).list();
}

}  // namespace ctriage::proc
