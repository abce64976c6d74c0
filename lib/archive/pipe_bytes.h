#pragma once
// Bytes of what cannot be seeked, a pipe: read once, in order.
#include <memory>
#include <string>

#include "lib/archive/bytes_at.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"

namespace ctriage::archive {

// Up to here all of a pipe stays in memory, and any of it can be read again; of a longer one the last
// kPipeBackBytes.
constexpr std::size_t kMaxPipeBytes = 16 << 20;
constexpr std::size_t kPipeBackBytes = 1 << 20;

// Errc::unsupported where what is asked for has passed. `task` stays with the caller.
std::unique_ptr<BytesAt> bytes_of_pipe(UniqueFd pipe, std::string name, const Task& task);

// A file of ours without a name below `directory`, for what is read more than once.
Result<UniqueFd> make_spool(const std::string& directory);
// All of `bytes` into it.
Status spool(BytesAt& bytes, int into, const Task& task);

}  // namespace ctriage::archive
