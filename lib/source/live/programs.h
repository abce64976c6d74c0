#pragma once
// Where a running program comes from: an image layer, the UpperDir, memory, a tmpfs, a volume, the host.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/source/live/live.h"

namespace ctriage::source {

// SHA-256 of an open regular file from its beginning, in hexadecimal; the descriptor's position is not moved.
Result<std::string> hash_file(int fd, std::string_view name, const Task& task);

Result<std::string> hash_source(ByteSource& in);

// The id of the mount an open file lies in, as mountinfo numbers them.
std::optional<std::uint32_t> mount_id(const Root& procfs, int fd);

// `program` is the running file, open (O_PATH will do), and `process.exe` is filled from it. With its sha256
// the answer rests on bytes: a file in the UpperDir whose bytes are the image's is "image". Without (list) it
// rests on where the path leads. Where we could not look it is "unknown", with a gap.
Origin program_origin(Node& node, const LiveContainer& container, const Process& process, int program,
                      Task& task);

}  // namespace ctriage::source
