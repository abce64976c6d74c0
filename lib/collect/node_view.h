#pragma once
// What several collectors ask of the node: its engines.
#include <span>

#include "lib/collect/collection.h"

namespace ctriage::collect {

// Looked for once in a run. Kubelets and daemons of runtimes that run on the node as root, outside of any
// container. An error only when the task must end or /proc cannot be listed.
Result<std::span<const runtime::EngineProcess>> list_engines(Collection& in);

}  // namespace ctriage::collect
