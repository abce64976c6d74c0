#pragma once
// Finds patterns in the runs of pages it is handed. Bytes are looked at in blocks by a thread of its own
// while the next are read; matches come in the order of addresses, from the caller's thread.
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/pages.h"
#include "lib/search/pattern.h"

namespace ctriage::search {

constexpr std::size_t kContextBytes = 32;  // that is shown on either side of a match

struct ScanOptions {
  bool prefilter = true;
  std::size_t block_bytes = 1 << 20;  // tests take small ones
};

class Scanner final : public MemoryVisitor {
 public:
  // `patterns` and what `emit` refers to outlive it.
  Scanner(const std::vector<Pattern>& patterns, ScanOptions options, Emit<MemoryMatch> emit,
          const Task& task);
  ~Scanner() override;

  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override;
  Status filled(std::uint64_t address, std::size_t count) override;
  // After the last bytes: what is left of the matches. Patterns that cost too much are a lost gap.
  Status finish();
  // Bytes that were searched.
  [[nodiscard]] std::uint64_t searched_bytes() const;
  // Matches of each pattern.
  [[nodiscard]] const std::vector<std::uint64_t>& counts() const;
  // Whether Vectorscan is at work.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ctriage::search
