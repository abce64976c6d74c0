#pragma once
// How a network namespace is connected, from the tables below /proc/PID/net, and the node's connection
// tracking, from netlink. Nobody enters the namespace. What it has of IPv6 neighbours and of its own
// connection tracking is in no such table.
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/network.h"

namespace ctriage::proc {

// One line of /proc/net/{dev,route,ipv6_route,arp,if_inet6}; nullopt for a heading.
Result<std::optional<NetworkEntry>> parse_network_line(std::string_view table, std::string_view line);

// The own addresses among the lines of /proc/net/fib_trie, which has them as leaves "/32 host LOCAL".
class LocalAddresses {
 public:
  // The address that this line completes.
  std::optional<std::string> take(std::string_view line);

 private:
  std::string leaf_;
};

// All tables of the namespace that `process` is in: interfaces, addresses, routes, neighbours. `sysfs`: a
// sysfs of that namespace, which knows more of its interfaces; null: there is none.
Status list_network(const Root& process, std::int32_t pid, const Root* sysfs, const Emit<NetworkEntry>& emit,
                    Task& task);

// A message of a ctnetlink dump, what follows its struct nlmsghdr. Unknown attributes are skipped.
Result<Flow> parse_flow(std::span<const std::byte> message);
// The addresses of a flow, without ports.
std::vector<std::string> addresses_of(const Flow& flow);

// The socket for list_flows, to be opened before the sandbox. Errc::unsupported where the kernel has no
// connection tracking, or would load a module to answer; mismatch where we are not in the node's namespace.
Result<UniqueFd> open_conntrack(const Root& proc, std::int32_t host, const std::string& release);
// The node's flows of which one of `addresses` is an end.
Status list_flows(int socket, const std::set<std::string>& addresses, const Emit<Flow>& emit, Task& task);

}  // namespace ctriage::proc
