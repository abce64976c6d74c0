#pragma once
// What this node and these privileges allow: each thing that ctriage leans on is tried once, on itself.
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/process.h"
#include "lib/model/selftest.h"

namespace ctriage::source {

// `root` as open_node. Enters the sandbox. Nothing of another process, of a container or of the node is
// changed; what fails is a check that says so, never a gap.
std::vector<SelftestCheck> selftest(const std::string& root, Task& task);

// Names of the capabilities that ctriage uses and `effective` does not have, capabilities(7).
std::vector<std::string> missing_capabilities(std::uint64_t effective);
// /proc/sys/kernel/yama/ptrace_scope; Documentation/admin-guide/LSM/Yama.rst.
SelftestCheck check_yama(const Result<std::string>& scope, bool may_ptrace);
// By the mount table of the node.
SelftestCheck check_freezer(const std::vector<Mount>& mounts);

}  // namespace ctriage::source
