#include "lib/core/sys_trace.h"

#include <sys/ptrace.h>
#include <sys/uio.h>

#include <cstdint>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {
namespace {

std::string thread_of(int tid) { return "thread " + std::to_string(tid); }

}  // namespace

Status trace_seize(int tid) {
  return done_or(attempt(Call::process, [&] { return ::ptrace(PTRACE_SEIZE, tid, nullptr, nullptr); }),
                 "attach to", thread_of(tid));
}

Status trace_interrupt(int tid) {
  return done_or(attempt(Call::process, [&] { return ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr); }),
                 "stop", thread_of(tid));
}

Result<std::size_t> trace_registers(int tid, unsigned set, std::span<std::byte> into) {
  iovec room{into.data(), into.size()};
  // The kernel takes the set's number where a pointer is declared.
  void* number = reinterpret_cast<void*>(std::uintptr_t{set});  // NOLINT(performance-no-int-to-ptr)
  if (attempt(Call::process, [&] { return ::ptrace(PTRACE_GETREGSET, tid, number, &room); }) < 0)
    return failed("read registers of", thread_of(tid));
  return room.iov_len;
}

Status trace_detach(int tid, int signal) {
  void* number =
      reinterpret_cast<void*>(static_cast<std::intptr_t>(signal));  // NOLINT(performance-no-int-to-ptr)
  return done_or(attempt(Call::process, [&] { return ::ptrace(PTRACE_DETACH, tid, nullptr, number); }),
                 "let go of", thread_of(tid));
}

}  // namespace ctriage::sys
