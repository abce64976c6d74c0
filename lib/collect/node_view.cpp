#include "lib/collect/node_view.h"

#include <algorithm>
#include <array>

namespace ctriage::collect {
namespace {

constexpr std::size_t kMaxEngines = 64;
constexpr std::array<std::string_view, 8> kNames = {"kubelet",    "containerd", "dockerd", "crio",
                                                    "k3s-server", "k3s-agent",  "k3s",     "rke2"};

// Anyone may call a process "kubelet": one in a container is not the node's.
bool is_of_the_node(const Root& proc, std::int32_t pid) {
  const auto cgroup = proc::read_text(proc, pid, "cgroup");
  const auto stat = proc::read_stat(proc, pid);
  return cgroup && !proc::is_in_container(*cgroup) && stat && !stat->is_kernel_thread() && !stat->has_ended();
}

}  // namespace

Result<std::vector<Engine>> list_engines(Collection& in) {
  const Root& proc = in.snapshot.node().proc;
  auto pids = proc::list_pids(proc);
  if (!pids) return std::move(pids).error();
  std::vector<Engine> engines;
  for (const std::int32_t pid : *pids) {
    if (auto going = in.task.check(); !going) return std::move(going).error();
    const auto comm = proc::read_text(proc, pid, "comm");
    if (!comm) {  // ended, mostly
      if (comm.error().code == Errc::io)
        in.task.gaps.add({Impact::lost, "node.config", std::to_string(pid), comm.error()});
      continue;
    }
    const auto name = std::ranges::find(kNames, trim(*comm));
    if (name == kNames.end() || !is_of_the_node(proc, pid)) continue;
    if (engines.size() >= kMaxEngines) {
      in.task.gaps.add(
          {Impact::lost, "node.config", std::to_string(pid),
           Error{Errc::limit, "more than " + std::to_string(kMaxEngines) + " engines run here"}});
      break;
    }
    engines.push_back({std::string(*name), pid});
  }
  return engines;
}

Result<source::LiveContainer> node_mounts(Collection& in) {
  auto mounts = proc::read_mounts(in.snapshot.node().proc, in.snapshot.node().host, in.task);
  if (!mounts) return std::move(mounts).error().within("the node's mount table");
  source::LiveContainer table;
  table.mounts = *std::move(mounts);
  for (const Mount& mount : table.mounts) {
    if (mount.mountpoint.raw == "/") table.root_device = mount.device;
  }
  return table;
}

Timestamp pod_began(const Collection& in) {
  std::optional<Timestamp> oldest;
  const auto take = [&oldest](const std::optional<Timestamp>& at) {
    if (at && at->seconds > 0 && (!oldest || *at < *oldest)) oldest = at;
  };
  for (const source::LiveContainer& live : in.snapshot.containers()) {
    take(live.container.created_at);
    take(live.container.started_at);
    take(proc::time_of_ticks(in.snapshot.node().clock, live.container.init_start_ticks));
  }
  return oldest.value_or(Timestamp{});
}

}  // namespace ctriage::collect
