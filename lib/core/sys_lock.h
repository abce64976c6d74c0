#pragma once
// System calls that keep others off: part of sys.h, apart since few need them.
#include <string_view>

#include "lib/core/result.h"

namespace ctriage::sys {

// flock(2), exclusive, of the open file, which children inherit; false: another has it. Gone with its last
// descriptor.
Result<bool> try_lock(int fd, std::string_view name);
// PR_SET_DUMPABLE: no core of ours, which would hold secrets, and no ptrace by those of our user.
Status forbid_dumps();

}  // namespace ctriage::sys
