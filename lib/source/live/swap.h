#pragma once
// Whether what a process has in swap is read. Reading brings it back into memory, at the cost of the target
// and its neighbours: lib/memory/SEMANTICS.md, "Swap".
#include <cstdint>
#include <optional>

#include "lib/core/task.h"
#include "lib/model/pages.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

constexpr std::uint64_t kMaxSwappedInBytes = 256 << 20;  // in a run, with SwapIn::automatic

class SwapRoom {
 public:
  SwapRoom(const Node& node, SwapIn choice) : node_(node), choice_(choice) {}
  // Of a process that is about to be read; what it has is then taken from the budget. Why not is a gap.
  bool admits(std::int32_t pid, Task& task);

 private:
  std::optional<Error> forbids(std::int32_t pid, std::uint64_t swapped_bytes, Task& task) const;

  const Node& node_;
  SwapIn choice_;
  std::uint64_t left_bytes_ = kMaxSwappedInBytes;
};

}  // namespace ctriage::source
