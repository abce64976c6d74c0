#pragma once
// Looks for YARA rules in the runs of bytes it is handed. libyara sees bytes as one file: so a run is
// gathered, and what is over `piece_bytes` is looked at in pieces that overlap.
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/pages.h"
#include "lib/model/yara.h"
#include "lib/scan/rules.h"

namespace ctriage::scan {

constexpr std::size_t kPieceBytes = 16 << 20;
constexpr std::size_t kOverlapBytes = 64 << 10;  // a string of more is not found where two pieces meet
constexpr std::size_t kMaxMatchStrings = 64;     // of one match
constexpr std::size_t kMaxOfOneString = 8;
constexpr std::size_t kMaxStringBytes = 64;
constexpr std::size_t kMaxMeta = 64;
constexpr std::size_t kMaxMetaBytes = 1'024;
constexpr std::size_t kMaxTags = 64;

struct YaraOptions {
  int piece_timeout_s = 10;  // 0: none
  std::size_t piece_bytes = kPieceBytes;
  std::size_t overlap_bytes = kOverlapBytes;
};

class YaraScanner final : public MemoryVisitor {
 public:
  static Result<std::unique_ptr<YaraScanner>> create(const Rules& rules, YaraOptions options,
                                                     Emit<YaraMatch> emit, Task& task);
  ~YaraScanner() override;
  YaraScanner(const YaraScanner&) = delete;
  YaraScanner& operator=(const YaraScanner&) = delete;

  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override;
  Status filled(std::uint64_t address, std::size_t count) override;
  Status finish();
  [[nodiscard]] std::uint64_t searched_bytes() const { return searched_; }
  // Of the rules that matched, the most frequent first.
  [[nodiscard]] std::vector<PatternCount> counts() const;

  struct State;

 private:
  explicit YaraScanner(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::uint64_t searched_ = 0;
};

}  // namespace ctriage::scan
