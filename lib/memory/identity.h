#pragma once
// Which program a process runs. Not for other modules.
#include "lib/core/root.h"
#include "lib/memory/plan.h"
#include "lib/model/process.h"
#include "lib/proc/proc.h"

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

struct Subject {  // a process whose memory is to be read
  Root process;   // /proc/PID
  proc::Stat stat;
  Identity identity;

  [[nodiscard]] bool is_same() const {
    const auto now = identity_of(process);
    return now && identity.is_same(*now);
  }
};
// Errc::vanished for one that is gone, or a zombie; unsupported for a kernel thread, which has no memory.
Result<Subject> open_subject(const Root& proc, std::int32_t pid, std::uint64_t start_ticks);
// Its mappings. Errc::vanished where it ended meanwhile, unsupported where it has none.
Status list_regions_of(const Subject& subject, proc::Readers& readers, Plan& plan, Task& task);

}  // namespace ctriage::memory
