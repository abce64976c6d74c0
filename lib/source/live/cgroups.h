#pragma once
// Where processes are in the hierarchies of cgroups(7), and what those limit.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/process.h"
#include "lib/proc/freezer.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

struct CgroupMount {  // a hierarchy, as the node has it mounted
  bool v2 = false;
  std::string mountpoint;

  [[nodiscard]] proc::SwitchKind freezer() const {
    return v2 ? proc::SwitchKind::cgroup_v2 : proc::SwitchKind::cgroup_v1;
  }
};
// Those that have the controller, of v2 all; a mount of a part of one is none.
std::vector<CgroupMount> cgroup_mounts(const std::vector<Mount>& mounts, std::string_view controller);
constexpr std::string_view kFreezerController = "freezer";

// Where in the hierarchy the process is; empty: not known. Paths above the cgroup namespace we are in have
// "..".
std::string cgroup_of(const Root& proc, std::int32_t pid, bool v2, std::string_view controller);

struct MemoryLimit {
  std::string cgroup;
  std::uint64_t most_bytes = 0;  // memory.max, memory.limit_in_bytes
  std::uint64_t used_bytes = 0;  // memory.current, memory.usage_in_bytes: of files, too
};
// Of the cgroup of the process and of those above that have one.
std::vector<MemoryLimit> memory_limits_of(const Node& node, std::int32_t pid, Task& task);

// MemAvailable of /proc/meminfo, proc_meminfo(5); 0: not known.
std::uint64_t available_bytes(const Root& proc);

}  // namespace ctriage::source
