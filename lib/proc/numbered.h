#pragma once
// Directories of /proc whose entries are numbers: processes, threads, descriptors. Not for other modules.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/root.h"

namespace ctriage::proc {

constexpr std::size_t kMaxNumbered =
    kMaxProcesses;  // 16 MiB of numbers; fs.nr_open stops descriptors at 1,048,576

// Ascending; other names are passed over. Errc::limit over kMaxNumbered.
Result<std::vector<std::int32_t>> list_numbers(const Root& directory);

}  // namespace ctriage::proc
