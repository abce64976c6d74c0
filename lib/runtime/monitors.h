#pragma once
// Containers of conmon, the monitor of Podman and CRI-O: one for each container.
#include <optional>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/proc/proc.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {

// A damaged bundle is a gap that names the file. Errors: stopped or timeout.
Status list_monitored(const Root& proc, const std::vector<EngineProcess>& processes,
                      const std::optional<proc::Clock>& clock, Storages& storages, std::vector<Found>& into,
                      Task& task);

}  // namespace ctriage::runtime
