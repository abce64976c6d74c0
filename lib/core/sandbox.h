#pragma once
// What a process that parses hostile formats gives up first: seccomp(2) takes away sockets, exec, ptrace,
// mounts and the like; landlock(7) takes away every file but those below what it is handed.
#include <string>
#include <vector>

#include "lib/core/gap_log.h"
#include "lib/core/result.h"

namespace ctriage {

struct SandboxPlan {
  std::vector<int> readable = {};  // O_PATH or directory descriptors; files below may be opened for reading
  std::vector<int> writable = {};  // files below may be created, written, renamed
  bool confine_files =
      true;  // false where another process's /proc is read: landlock refuses that (ptrace rules)
  bool may_clone = false;  // detached clones of mounts may be made until forbid_clones()
};

struct SandboxLevel {  // what was reached; older kernels know less, and the report says so
  bool syscalls = false;
  bool files = false;
  std::string why;  // what is missing and the reason, empty when all of the plan holds
};

// Irrevocable, for this thread and all it starts: call before any thread. Errc::io only when the kernel
// accepted half.
Result<SandboxLevel> enter_sandbox(const SandboxPlan& plan);
// The same; what this kernel or its settings do not give is a note.
Status enter_sandbox(const SandboxPlan& plan, GapLog& gaps);
// Ends what may_clone left open. A note where it cannot be done.
void forbid_clones(GapLog& gaps);

}  // namespace ctriage
