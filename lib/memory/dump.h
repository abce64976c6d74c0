#pragma once
// The memory of a live process as an ELF core. Nothing is attached, entered or written; only pages that are
// there are read, so that the process does not grow. SEMANTICS.md says what is taken and how it is told.
#include <cstdint>
#include <string>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/memory/plan.h"
#include "lib/memory/still.h"
#include "lib/memory/thread_notes.h"
#include "lib/model/memory.h"
#include "lib/proc/reader.h"

namespace ctriage::memory {

struct FreezeOptions {
  const proc::Freezer* freezer = nullptr;  // none: nothing is stopped
  bool only_if_short = false;              // where copying takes kShortFreezeNs at most
  std::int64_t most_ns = kMostFreezeNs;
  std::uint64_t most_kept_bytes = 0;  // of memory of ours, while it stands still
};

struct DumpOptions {
  PlanOptions plan;
  Registers registers = Registers::syscall;
  FreezeOptions freeze;
  std::uint64_t max_core_bytes = UINT64_MAX;  // Errc::full, before anything is written
};

// `pid` that started at `start_ticks`; the core in one pass, what it holds as ranges in the order of
// addresses. Errc::vanished when the process is gone before its memory could be opened; Errc::unsupported for
// a kernel thread, which has none. What is of the files (names, digests, whether it is complete) and of the
// command stays empty. What was lost after that is in the gaps, and the core is whole in form.
Result<DumpedProcess> dump_process(const Root& proc, proc::Readers& readers, std::int32_t pid,
                                   std::uint64_t start_ticks, const DumpOptions& options, ByteSink& core,
                                   const Emit<PageRange>& ranges, Task& task);

}  // namespace ctriage::memory
