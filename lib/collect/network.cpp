// Group "state": how the pod is connected. One pass for each network namespace that any member is in, then
// the node's flows of the addresses that were found there.
#include "lib/model/network.h"

#include <set>

#include "lib/collect/collection.h"
#include "lib/proc/network.h"
#include "lib/source/live/reach.h"

namespace ctriage::collect {
namespace {

using source::LiveContainer;

constexpr std::size_t kMaxNamespaces = 256;

bool is_of_every_host(const std::string& address) {
  return address.starts_with("127.") || address == "::1" || address.starts_with("fe80:");
}

// The container's own sysfs is of its network namespace. Nothing that lies over it is asked: ask_sysfs
// checks what it opened.
std::optional<Root> sysfs_of(Collection& in, const LiveContainer& live) {
  if (live.alone || source::server_on_the_way(live, "/sys/class/net") != nullptr) return std::nullopt;
  for (const Mount& mount : live.mounts) {
    const std::string& point = mount.mountpoint.raw;
    if (point.starts_with("/sys/class") || point.starts_with("/sys/devices")) return std::nullopt;
  }
  const Root& proc = in.snapshot.node().proc;
  auto root = proc.descend_magic(proc::live_path(proc, live.container.init_pid) + "/root");
  auto sysfs = root ? root->descend_in_root("sys") : Result<Root>(root.error());
  if (!sysfs) return std::nullopt;
  return *std::move(sysfs);
}

Status list_namespaces(Collection& in, bundle::Stream& out, std::set<std::string>& addresses) {
  const Root& proc = in.snapshot.node().proc;
  std::set<std::uint64_t> seen;
  const Emit<NetworkEntry> emit = [&](NetworkEntry&& entry) -> Status {
    if (entry.kind == NetworkKind::address && entry.address && !is_of_every_host(*entry.address))
      addresses.insert(*entry.address);
    return in.write(out, entry);
  };
  for (const LiveContainer& live : in.snapshot.containers()) {
    const auto sysfs = sysfs_of(in, live);
    const auto of_init = proc::read_namespace(proc, live.container.init_pid, "net");
    for (const auto& [pid, held] : live.processes) {
      if (held.gone || held.ended) continue;
      const auto process = proc::open_living(proc, pid, held.start_ticks);
      const auto net = process ? proc::read_namespace(*process, "net") : Result<Hex>(process.error());
      if (!net) {
        const Error& why = net.error();
        // That it ended was told when it was read.
        if (why.code != Errc::vanished && why.code != Errc::not_found)
          in.task.gaps.add({Impact::lost, "proc.network", "pid " + std::to_string(pid), why});
        continue;
      }
      if (seen.contains(net->value)) continue;
      if (seen.size() >= kMaxNamespaces) {
        in.task.gaps.add({Impact::lost, "proc.network", live.container.id,
                          Error{Errc::limit, "members are in more than " + std::to_string(kMaxNamespaces) +
                                                 " network namespaces"}});
        return Done{};
      }
      seen.insert(net->value);
      const bool has_sysfs = sysfs && of_init && *of_init == *net;
      auto listed = proc::list_network(*process, pid, has_sysfs ? &*sysfs : nullptr, emit, in.task);
      if (listed) continue;
      if (listed.error().code != Errc::vanished) return listed;
      seen.erase(net->value);  // another member may still be in it
    }
  }
  return Done{};
}

}  // namespace

Status take_network(Collection& in) {
  const std::string path = "pod/network.jsonl";
  const std::string flows_path = "pod/flows.jsonl";
  auto stream = in.out.open(path, bundle::Encoding::jsonl, "procfs");
  if (!stream) return std::move(stream).error();
  std::set<std::string> addresses;
  if (auto listed = list_namespaces(in, **stream, addresses); !listed)
    return in.ended_early(**stream, "proc.network", path, listed.error());
  if (auto status = (*stream)->finish(bundle::Outcome::collected, ""); !status) return status;

  const source::Node& node = in.snapshot.node();
  if (!node.conntrack && !addresses.empty()) {
    const Error why = node.no_conntrack.value_or(Error{Errc::unsupported, "was not asked"});
    // What this kernel or this place cannot know is a note; an error on the way is a loss.
    const bool cannot = why.code == Errc::unsupported || why.code == Errc::mismatch;
    in.task.gaps.add({cannot ? Impact::note : Impact::lost, "node.conntrack", in.snapshot.name(),
                      Error(why).within("flows are not known")});
    in.out.not_collected(flows_path, "conntrack", why.what);
    return Done{};
  }
  auto flows = in.out.open(flows_path, bundle::Encoding::jsonl, "conntrack of the node");
  if (!flows) return std::move(flows).error();
  const Emit<Flow> emit = [&](Flow&& flow) { return in.write(**flows, flow); };
  if (!addresses.empty()) {  // without any there is nobody to have flows
    if (auto listed = proc::list_flows(node.conntrack.get(), addresses, emit, in.task); !listed) {
      Error error = std::move(listed).error();
      if (error.code == Errc::denied) error.what += " (needs CAP_NET_ADMIN)";
      return in.ended_early(**flows, "node.conntrack", flows_path,
                            std::move(error).within("flows are not known"));
    }
  }
  return (*flows)->finish(bundle::Outcome::collected, "");
}

}  // namespace ctriage::collect
