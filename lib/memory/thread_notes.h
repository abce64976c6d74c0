#pragma once
// The threads of a process and their registers, as the notes of its core. Not for other modules but
// Registers.
#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

#include "lib/core/task.h"
#include "lib/elf/core.h"
#include "lib/memory/identity.h"
#include "lib/model/memory.h"
#include "lib/proc/reader.h"

namespace ctriage::memory {

enum class Registers : std::uint8_t {
  syscall,  // of threads that wait: stack and instruction pointer, arguments of the call
  ptrace,   // all of them, each thread stopped for it: lib/proc/registers.h; where that fails as above
  none,
};
constexpr auto enum_names(Registers) { return std::array<std::string_view, 3>{"syscall", "ptrace", "none"}; }

// Main thread first. `add_process` adds the notes of the process after it, as the kernel writes them: gdb
// takes what stands between a thread and the next for that thread's.
void add_threads(elf::Notes& notes, DumpedProcess& dumped, const Subject& subject, proc::Readers& readers,
                 Registers registers, const std::function<void()>& add_process, Task& task);

}  // namespace ctriage::memory
