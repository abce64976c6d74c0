#pragma once
// ptrace(2): part of sys.h, apart since only the registers need it. A tracer that ends lets go of all
// threads.
#include <cstddef>
#include <span>

#include "lib/core/result.h"

namespace ctriage::sys {

Status trace_seize(int tid);      // PTRACE_SEIZE: nothing is stopped by it
Status trace_interrupt(int tid);  // PTRACE_INTERRUPT: waitpid(2) with __WALL says when it stands
// PTRACE_GETREGSET of a thread that stands: `set` is NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE. How many bytes
// of `into` were filled; EINVAL and ENODEV: the machine has no such set.
Result<std::size_t> trace_registers(int tid, unsigned set, std::span<std::byte> into);
Status trace_detach(int tid, int signal);  // it goes on, with this signal (0: none)

}  // namespace ctriage::sys
