#pragma once
// Memory of a source, for who walks through it. Live targets and checkpoints have some.
#include "lib/core/task.h"
#include "lib/model/pages.h"
#include "lib/model/snapshot.h"

namespace ctriage::source {

class LiveSnapshot;

// Processes by pid and address, then what belongs to none; of a compressed checkpoint in the order of the
// archive. What could not be read is a gap; an error of the visitor ends it. Errc::unsupported where this
// source has no memory, not_found: no such process.
Status visit_memory(Snapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor, Task& task);

Status visit_live_memory(LiveSnapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor,
                         Task& task);

}  // namespace ctriage::source
