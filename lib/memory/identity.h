#pragma once
// Which program a process runs. Not for other modules.
#include "lib/core/root.h"
#include "lib/model/process.h"

namespace ctriage::memory {

// What tells one program of a process from the next: exec(2) keeps pid and start time. The stack, and with it
// the arguments, are at a random place each time.
struct Identity {
  Executable exe;
  std::uint64_t start_ticks = 0;
  std::uint64_t arg_start = 0;
  std::uint64_t env_start = 0;

  [[nodiscard]] bool is_same(const Identity& other) const {
    return exe.path == other.exe.path && exe.device == other.exe.device && exe.inode == other.exe.inode &&
           start_ticks == other.start_ticks && arg_start == other.arg_start && env_start == other.env_start;
  }
};

// Of an open /proc/PID.
Result<Identity> identity_of(const Root& process);

}  // namespace ctriage::memory
