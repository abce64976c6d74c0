#pragma once
// The memory of a live process, handed to who walks through it: the pages that a dump would take, read as it
// does.
#include <cstdint>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/memory/plan.h"
#include "lib/model/pages.h"
#include "lib/proc/reader.h"

namespace ctriage::memory {

// `pid` that started at `start_ticks`. `like` has what all areas of it have in common. Errors as of
// dump_process(); what was lost after that is in the gaps.
Status visit_process(const Root& proc, proc::Readers& readers, std::int32_t pid, std::uint64_t start_ticks,
                     const PlanOptions& options, const MemoryArea& like, MemoryVisitor& visitor, Task& task);

// The same, of nothing but private copies of pages of files that are mapped privately, may be executed and
// have a name still; the first page of a file is handed over as well. What is in swap is left there.
Status visit_code(const Root& proc, proc::Readers& readers, std::int32_t pid, std::uint64_t start_ticks,
                  const MemoryArea& like, MemoryVisitor& visitor, Task& task);

}  // namespace ctriage::memory
