#pragma once
// What a thread has apart from its process. Not for other modules.
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::proc {

// Numbers, ascending, with a hash of what /proc/PID/fd shows them to be (and of the inode where that says too
// little): a table has a million of them at most, whose paths would not fit into memory.
using Table = std::vector<std::pair<std::int32_t, std::size_t>>;

std::size_t identity_of(std::string_view target, Hex inode);

// `take` for each descriptor of a thread that the process's table `main` has not: a thread leaves that one
// with unshare(2) CLONE_FILES. kcmp(2) would tell at once but is ptrace's neighbour and closed to us, so
// tables are compared by what they show. `living` is the process as open_living() has it.
using TakeOdd = std::function<Status(const Root& thread, std::int32_t tid, std::int32_t number)>;
Status list_odd_descriptors(const Root& process, std::int32_t pid, const Root& living, const Table& main,
                            const TakeOdd& take, Task& task);

}  // namespace ctriage::proc
