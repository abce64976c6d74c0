#include "lib/source/live/freezers.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

using memory::FreezeMode;
using proc::SwitchKind;

// What runs containers. Whoever bears such a name inside one is not stopped either: that costs a moment's
// consistency, stopping the wrong one costs the node.
constexpr std::array<std::string_view, 11> kRuntimes{
    "kubelet", "k3s", "rke2", "containerd", "dockerd", "crio", "conmon", "cri-o", "podman", "runc", "crun"};

bool is_runtime(std::string_view name) {
  return std::ranges::any_of(kRuntimes, [&](std::string_view runtime) {
    return name == runtime || (name.starts_with(runtime) && name.substr(runtime.size()).starts_with("-"));
  });
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// The kubelet's own pods, of a file on the node: their UID is an MD5 of the manifest, without dashes.
bool is_static(const LiveContainer& live) {
  return live.container.pod && live.container.pod->uid.size() == 32 &&
         live.container.pod->uid.find('-') == std::string::npos;
}

}  // namespace

Result<std::set<std::int32_t>> Freezers::list_ours() const {
  if (node_.ourselves == 0) return Error{Errc::unsupported, "which of the processes is ctriage is not known"};
  std::set<std::int32_t> ours;
  for (std::int32_t own = node_.ourselves; own > 0 && ours.insert(own).second;) {
    const auto stat = proc::read_stat(node_.proc, own);
    if (!stat) return stat.error();
    own = stat->ppid;
  }
  return ours;
}

// Ours, those that started us, and what runs containers.
std::optional<Error> Freezers::forbids(std::int32_t pid) {
  if (!ours_) ours_ = list_ours();
  if (!*ours_) return ours_->error();
  if ((*ours_)->contains(pid))
    return Error{Errc::unsupported, "pid " + std::to_string(pid) + " is ctriage or started it"};
  const auto stat = proc::read_stat(node_.proc, pid);
  if (!stat) return std::nullopt;  // gone
  const auto exe = node_.proc.read_link_beneath(std::to_string(pid) + "/exe");
  const std::string_view program = exe ? last_part(*exe) : std::string_view();
  if (pid == 1 || is_runtime(stat->comm.view()) || is_runtime(program))
    return Error{Errc::unsupported,
                 "pid " + std::to_string(pid) + " is what runs the node or containers, by its name"};
  return std::nullopt;
}

// Only processes of the target may be in it, and nothing that the node needs.
std::optional<Error> Freezers::forbids(const LiveContainer& live, const proc::Freezer& freezer) {
  const auto pids = proc::list_pids(node_.proc);
  if (!pids) return pids.error();
  std::set<std::int32_t> inside;
  for (const std::int32_t pid : *pids) {
    const bool v2 = freezer.kind() == SwitchKind::cgroup_v2;
    if (!is_at_or_below(cgroup_of(node_.proc, pid, v2, kFreezerController), freezer.path())) continue;
    if (auto why = forbids(pid)) return why;
    if (pid != live.container.init_pid && live.inits && live.inits->contains(pid))
      return Error{Errc::unsupported,
                   "cgroup " + freezer.path() + " has another container below: pid " + std::to_string(pid)};
    const auto mounts = proc::read_namespace(node_.proc, pid, "mnt");
    const auto stat = proc::read_stat(node_.proc, pid);
    const auto member = live.processes.find(pid);
    const bool of_target = member != live.processes.end() && member->second.membership != Membership::escaped;
    const bool known = of_target || (mounts && mounts->value == live.mount_namespace) ||
                       (stat && inside.contains(stat->ppid));
    if (stat && !known)
      return Error{Errc::unsupported, "cgroup " + freezer.path() + " has pid " + std::to_string(pid) +
                                          ", which is not of the target"};
    inside.insert(pid);
  }
  return std::nullopt;
}

Result<proc::Freezer> Freezers::of_container(const LiveContainer& live, Task& task) {
  if (live.alone)
    return Error{Errc::unsupported, "a process that is in no container: --freeze stop stops it alone"};
  if (is_static(live) && !choice_.typed)
    return Error{Errc::unsupported, "a static pod, which the node may need: --freeze auto or cgroup does it"};
  const auto mounts = proc::read_mounts(node_.proc, node_.host, task);
  if (!mounts) return mounts.error();
  const auto root = node_.proc.descend_magic(node_.host_link("root"));
  if (!root) return root.error();
  Error why{Errc::unsupported, "no cgroup that has its id and a freezer"};
  for (const CgroupMount& hierarchy : cgroup_mounts(*mounts, kFreezerController)) {
    std::string path = cgroup_of(node_.proc, live.container.init_pid, hierarchy.v2, kFreezerController);
    // What is made below from inside carries no id: up to the container's own.
    const auto is_own = [&] {
      return last_part(path) == live.container.id ||
             proc::parse_cgroup_owner(last_part(path)).container_id == live.container.id;
    };
    while (path.size() > 1 && !is_own()) path = parent_of(path);
    if (path.size() <= 1) continue;
    const auto top = root->descend_in_root(hierarchy.mountpoint.substr(1));
    auto freezer =
        top ? proc::Freezer::of_cgroup(*top, hierarchy.freezer(), path) : Result<proc::Freezer>(top.error());
    const auto known = freezer ? freezer->is_frozen() : Result<bool>(freezer.error());
    if (!known) {
      why = known.error();
      continue;
    }
    if (auto forbidden = forbids(live, *freezer)) return *std::move(forbidden);
    return freezer;
  }
  return why;
}

Result<proc::Freezer> Freezers::of_process(const LiveContainer& live, std::int32_t pid) {
  if (auto why = forbids(pid)) return *std::move(why);
  if (node_.ourselves != sys::own_pid())
    return Error{Errc::unsupported, "its number is another here: ctriage is in a pid namespace of its own"};
  const auto held = live.processes.find(pid);
  const auto process =
      proc::open_process(node_.proc, pid, held == live.processes.end() ? 0 : held->second.start_ticks);
  if (!process) return process.error();
  return proc::Freezer::of_process(*process, pid);
}

// A quarter of what is available to us: of the node, and of the cgroups we are in.
std::uint64_t Freezers::most_kept_bytes(Task& task) {
  if (most_kept_bytes_) return *most_kept_bytes_;
  std::uint64_t available = available_bytes(node_.proc);
  for (const MemoryLimit& limit : memory_limits_of(node_, node_.ourselves, task))
    available = std::min(available, limit.most_bytes - std::min(limit.most_bytes, limit.used_bytes));
  most_kept_bytes_ = available / 4;
  return *most_kept_bytes_;
}

memory::FreezeOptions Freezers::options_for(const LiveContainer& live, std::int32_t pid, Task& task) {
  memory::FreezeOptions options;
  options.only_if_short = choice_.mode == FreezeMode::automatic;
  options.most_ns = choice_.most_ns;
  if (choice_.mode == FreezeMode::none) return options;
  options.most_kept_bytes = most_kept_bytes(task);
  const auto tell = [&](std::string origin, Error why) {
    const Impact impact = options.only_if_short ? Impact::note : Impact::degraded;
    task.gaps.add({impact, "memory.freeze", std::move(origin), std::move(why).within("not frozen")});
  };
  if (choice_.mode == FreezeMode::stop) {
    of_process_.reset();
    auto freezer = of_process(live, pid);
    if (freezer) {
      options.freezer = &of_process_.emplace(*std::move(freezer));
    } else {
      tell("pid " + std::to_string(pid), std::move(freezer).error());
    }
    return options;
  }
  auto known = by_container_.find(live.container.id);
  if (known == by_container_.end()) {
    auto freezer = of_container(live, task);
    known = by_container_.try_emplace(live.container.id).first;
    if (freezer) {
      known->second.freezer = *std::move(freezer);
    } else {
      tell(live.alone ? "pid " + std::to_string(pid) : live.container.id, std::move(freezer).error());
    }
  }
  OfContainer& of = known->second;
  if (!of.freezer) return options;
  // Who came from outside, or moved away, goes on while the container stands.
  const bool v2 = of.freezer->kind() == SwitchKind::cgroup_v2;
  if (const std::string its = cgroup_of(node_.proc, pid, v2, kFreezerController);
      !is_at_or_below(its, of.freezer->path())) {
    tell("pid " + std::to_string(pid), {Errc::outside, "it is in cgroup " + (its.empty() ? "unknown" : its) +
                                                           ", not in that of the container"});
    return options;
  }
  if (options.only_if_short && of.frozen_ns >= memory::kMostFreezeNs) {
    if (!std::exchange(of.told, true))
      tell(live.container.id, {Errc::limit, "it stood still for " + milliseconds_text(of.frozen_ns) +
                                                " in all: its other processes are read while they go on"});
    return options;
  }
  options.freezer = &*of.freezer;
  return options;
}

void Freezers::stood(const LiveContainer& live, std::int64_t frozen_ns) {
  by_container_[live.container.id].frozen_ns += frozen_ns;
}

}  // namespace ctriage::source
