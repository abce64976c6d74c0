#pragma once
// Containers of conmon, the monitor of Podman and CRI-O: one for each container.
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/runtime/init.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {

// A damaged bundle is a gap that names the file. Errors: stopped or timeout.
Status list_monitored(const Root& proc, const std::vector<EngineProcess>& processes, const NodeFacts& node,
                      Storages& storages, std::vector<Found>& into, Task& task);

}  // namespace ctriage::runtime
