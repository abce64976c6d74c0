#pragma once
// What several collectors ask of the node: its engines, its mounts, and since when the pod can have touched
// it.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/collect/collection.h"
#include "lib/runtime/processes.h"

namespace ctriage::collect {

// Kubelets and daemons of runtimes that run on the node as root, outside of any container. An error only when
// the task must end or /proc cannot be listed.
Result<std::vector<runtime::EngineProcess>> list_engines(Collection& in);

// The node's mounts in the form that source::server_on_the_way knows.
Result<source::LiveContainer> node_mounts(Collection& in);

// When the oldest container of the pod was made: nothing of it can be older.
Timestamp pod_began(const Collection& in);

}  // namespace ctriage::collect
