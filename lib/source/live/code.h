#pragma once
// Code that was patched in memory: private copies of executable pages of files, held against the files.
#include <cstdint>
#include <string>

#include "lib/source/live/live.h"
#include "lib/verdict/verdict.h"

namespace ctriage::source {

constexpr std::uint64_t kMaxCodeBytes = 4 << 20;  // of private copies, of one process, that are compared
constexpr std::size_t kMaxPatchedFiles = 10'000;  // of one container
constexpr std::size_t kMaxShownCode = 16;         // bytes of the first difference

// Of the container's processes, a file and its change once, whoever has it. A copy that is as the file is no
// patch. What cannot be looked at is a degraded gap. Text relocations, which linkers refuse by default, look
// like a patch.
Status list_patched_code(LiveSnapshot& snapshot, const std::string& container,
                         const Emit<verdict::PatchedCode>& emit, Task& task);

}  // namespace ctriage::source
