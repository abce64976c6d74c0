#pragma once
// Bytes of memory that a source has, in runs: what `search` and `strings` walk through. No artifact.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/values.h"
#include "lib/model/search.h"

namespace ctriage {

// Pages in swap, which reading brings back into memory.
enum class SwapIn : std::uint8_t { automatic, all, none };  // automatic: what there is room for
constexpr auto enum_names(SwapIn) { return std::array<std::string_view, 3>{"auto", "all", "none"}; }

struct MemoryQuery {
  static constexpr std::int32_t kProcessesAlone = -1;  // all of them, and nothing of what belongs to none
  std::int32_t pid = 0;  // this process alone; 0: all of them, and what belongs to none; or kProcessesAlone
  bool all_file_pages = false;
  SwapIn swap_in = SwapIn::automatic;
};

// What a stretch of bytes lies in: a mapping of a process, or an object that has bytes without one.
struct MemoryArea {
  std::uint64_t space = 0;  // bytes of another space never continue those of this one
  AreaKind kind = AreaKind::memory;
  std::string container;
  std::int32_t pid = 0;  // 0: of no process alone
  std::int32_t container_pid = 0;
  std::uint64_t start = 0;                   // of what is filled in as `address`
  std::optional<std::uint64_t> address = 0;  // of `start` in the process; none: it is in no process
  std::uint64_t offset_bytes = 0;            // of `start` in the file or object
  bool has_offset = false;                   // there is such a file or object
  std::string protection;
  Bytes path;
};

// Handed the bytes. Bytes that begin at the address where the last ended, in the same space, continue them:
// that is a run of pages.
class MemoryVisitor {
 public:
  virtual ~MemoryVisitor() = default;
  // What is filled in from now on lies in this area. Areas of a space ascend.
  virtual Status enter(MemoryArea&& area) = 0;
  // Where the next bytes are to be written; never empty.
  virtual std::span<std::byte> room() = 0;
  // `count` bytes of the room are those at `address`.
  virtual Status filled(std::uint64_t address, std::size_t count) = 0;

  Status take(std::uint64_t address, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto into = room();
      const std::size_t count = std::min(into.size(), bytes.size());
      std::memcpy(into.data(), bytes.data(), count);
      if (auto done = filled(address, count); !done) return done;
      address += count;
      bytes = bytes.subspan(count);
    }
    return Done{};
  }
};

}  // namespace ctriage
