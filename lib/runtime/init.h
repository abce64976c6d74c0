#pragma once
// The first process of a container.
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/proc/proc.h"
#include "lib/runtime/runtime.h"

namespace ctriage::runtime {

struct NodeFacts {                                     // the same for all its containers
  std::optional<proc::Clock> clock;                    // may be missing
  std::map<std::string, Hex, std::less<>> namespaces;  // "pid", "net", "ipc"; missing: not known
};
NodeFacts read_node_facts(const Root& proc, Task& task);

struct InitPid {  // what the engine says
  std::int32_t pid = 0;
  std::string origin;               // the file it says so in
  std::set<std::int32_t> monitors;  // one of these should be its parent
  const Root& node;
};

// What /proc says of it: is it there, is it the one that is meant, what does it share with the node. Fills
// state, start time, shim and rights.
void look_at_init(const Root& proc, const InitPid& said, const NodeFacts& node, Found& into, Task& task);

}  // namespace ctriage::runtime
