#pragma once
// Where a running program comes from: an image layer, the UpperDir, memory, a tmpfs, a volume, the host.
#include <string>
#include <string_view>

#include "lib/source/live.h"

namespace ctriage::source {

// SHA-256 of an open regular file from its beginning, in hexadecimal; the descriptor's position is not moved.
Result<std::string> hash_file(int fd, std::string_view name, const Task& task);

// `process.exe` must be filled with its path, device and inode. With its sha256 the answer rests on bytes: a
// file in the UpperDir whose bytes are the image's is "image". Without (list) it rests on where the path
// leads. Where we could not look it is "unknown".
Origin program_origin(const Root& procfs, const LiveContainer& container, const Process& process, Task& task);

}  // namespace ctriage::source
