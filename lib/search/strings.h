#pragma once
// Runs of printable characters in the runs of pages it is handed: ASCII, and UTF-16LE of the same characters.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/pages.h"

namespace ctriage::search {

constexpr std::size_t kMaxStringCharacters = 4'096;  // of one record; more are several
constexpr std::size_t kMinStringCharacters = 2;

struct StringOptions {
  std::size_t at_least = 8;  // characters
  bool ascii = true;
  bool wide = true;
};

class StringFinder final : public MemoryVisitor {
 public:
  StringFinder(StringOptions options, Emit<FoundString> emit, const Task& task);

  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override { return std::span(buffer_).first(kRoomBytes); }
  Status filled(std::uint64_t address, std::size_t count) override;
  Status finish();
  [[nodiscard]] std::uint64_t searched_bytes() const { return searched_; }
  [[nodiscard]] std::uint64_t found() const { return found_; }

 private:
  static constexpr std::size_t kRoomBytes = 256 << 10;
  using Bits = std::vector<std::uint64_t>;  // one a byte of the buffer

  struct Open {  // a string that may go on
    std::string text;
    std::uint64_t address = 0;
    std::shared_ptr<const MemoryArea> area;
    TextEncoding encoding = TextEncoding::ascii;
    bool continued = false;   // what came before of it was told
    std::optional<char> low;  // UTF-16LE: the last byte of what was filled before, which a zero may follow

    [[nodiscard]] bool is_open() const { return !text.empty() || continued; }
  };
  // Characters of one encoding: bits `first`, `first` + `step`, ... below `end` that are set in `characters`.
  struct Row {
    const Bits& characters;
    std::size_t step = 1;
    std::size_t first = 0;
    std::size_t end = 0;
  };
  void classify(std::size_t count);
  void find_starts(const Bits& characters, std::size_t step);
  void scan(const Row& row, Open& open);
  void scan_wide(std::size_t count);
  void add(Open& open, char c, std::uint64_t address);
  void end(Open& open, std::uint64_t address);
  void tell(Open& open, bool goes_on, std::uint64_t address);
  Status hand_over();

  StringOptions options_;
  Emit<FoundString> emit_;
  const Task& task_;
  std::vector<std::byte> buffer_;
  Bits printable_;
  Bits wide_characters_;   // a printable byte, and a zero behind it
  Bits starts_;            // where enough characters begin
  std::size_t words_ = 0;  // of these that are of the buffer
  std::shared_ptr<const MemoryArea> area_;
  std::uint64_t address_ = 0;  // of the buffer
  std::uint64_t run_end_ = 0;
  bool in_run_ = false;
  Open ascii_;
  std::array<Open, 2> wide_;                                 // by the parity of the first byte's address
  std::vector<std::pair<std::uint64_t, FoundString>> told_;  // of the buffer, and where each ended
  std::uint64_t searched_ = 0;
  std::uint64_t found_ = 0;
};

}  // namespace ctriage::search
