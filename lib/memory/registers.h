#pragma once
// What of a thread's registers can be known without attaching to it.
#include <optional>
#include <string_view>

#include "lib/elf/core.h"

namespace ctriage::memory {

// The text of /proc/PID/task/TID/syscall, proc_pid_syscall(5). Nothing for "running" and what is no such
// text.
std::optional<elf::CallRegisters> parse_call(std::string_view text);

}  // namespace ctriage::memory
