#pragma once
// All the bytes of a source that something hostile may lie in, one after the other: memory of processes, the
// programs they run, files that changed, tmpfs, volumes, files without a name, queues, logs. Of a checkpoint
// and a bundle that is Snapshot::visit_memory; of a live or ended container its files come behind its memory.
#include "lib/core/task.h"
#include "lib/model/pages.h"
#include "lib/model/snapshot.h"

namespace ctriage::source {

// Each file is a space of its own, from address 0 on; holes are zeros up to kMaxZerosFed, then the run ends.
// What cannot be read, or not all of it, is a lost gap, what this source cannot have a note; an error of the
// visitor ends it. Of one process (query.pid) its memory and its program.
Status visit_everything(Snapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor, Task& task);

constexpr std::uint64_t kMaxZerosFed = 64 << 20;  // of one file

}  // namespace ctriage::source
