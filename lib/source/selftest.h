#pragma once
// What this node and these privileges allow: each thing that ctriage leans on is tried once, on itself.
#include <functional>
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/process.h"
#include "lib/model/selftest.h"
#include "lib/proc/freezer.h"

namespace ctriage::source {

// `root` as open_node. Enters the sandbox. Nothing of another process or of a container is changed, of the
// node nothing stays: a cgroup of ours is made and taken away. What fails is a check that says so, never a
// gap.
std::vector<SelftestCheck> selftest(const std::string& root, Task& task);

// Names of the capabilities that ctriage uses and `effective` does not have, capabilities(7).
std::vector<std::string> missing_capabilities(std::uint64_t effective);
// /proc/sys/kernel/yama/ptrace_scope; Documentation/admin-guide/LSM/Yama.rst.
SelftestCheck check_yama(const Result<std::string>& scope, bool may_ptrace);
// Each freezer in the mount table of the node; `attempt` tries the one that is mounted there.
using TryFreezer = std::function<Status(const std::string& mountpoint, proc::SwitchKind kind)>;
SelftestCheck check_freezer(const std::vector<Mount>& mounts, const TryFreezer& attempt);

}  // namespace ctriage::source
