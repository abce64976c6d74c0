#pragma once
// All registers of threads, for those who ask for it: ptrace(2) stops each for as long as that takes. A
// system call that a thread waits in goes on by itself but for those that signal(7) says end with EINTR even
// without a handler: epoll_wait(2), semop(2), io_getevents(2).
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "lib/core/task.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {

struct ThreadRegisters {      // as PTRACE_GETREGSET gives them; views of what the next thread overwrites
  std::string_view general;   // NT_PRSTATUS: struct user_regs_struct, struct user_pt_regs
  std::string_view floating;  // NT_PRFPREG; empty: it has none
  std::string_view extended;  // NT_X86_XSTATE; empty: it has none
};
// The number of the thread in `tids`. Errc::vanished, denied (traced by another, or CAP_SYS_PTRACE is
// missing), timeout (it cannot be stopped: frozen by a v1 freezer, or in an uninterruptible wait).
using TakeRegisters = std::function<void(std::size_t index, const Result<ThreadRegisters>& registers)>;

// Of threads of `pid`, in their order, kThreadsAtATime of which stand still together. A reader does it and
// lets them go on before it answers; whatever ends it, SIGKILL included, lets them go on, too. How long they
// stood in all. Ours are Errc::unsupported.
Result<std::int64_t> read_registers(Readers& readers, std::int32_t pid, std::span<const std::int32_t> tids,
                                    const TakeRegisters& take, const Task& task);

constexpr std::size_t kThreadsAtATime = 64;
constexpr std::int64_t kMostStopNs = 300'000'000;  // until all of them stand

}  // namespace ctriage::proc
