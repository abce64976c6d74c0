#pragma once
// Runs of printable characters in the runs of pages it is handed: ASCII, and UTF-16LE of the same characters.
#include <array>
#include <cstdint>
#include <memory>
#include <string>
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
  std::span<std::byte> room() override { return buffer_; }
  Status filled(std::uint64_t address, std::size_t count) override;
  Status finish();
  [[nodiscard]] std::uint64_t searched_bytes() const { return searched_; }
  [[nodiscard]] std::uint64_t found() const { return found_; }

 private:
  struct Open {  // a string that may go on
    std::string text;
    std::uint64_t address = 0;
    std::shared_ptr<const MemoryArea> area;
    TextEncoding encoding = TextEncoding::ascii;
    bool continued = false;  // what came before of it was told
  };
  Status add(Open& open, char c, std::uint64_t address);
  Status close(Open& open) { return open.text.empty() && !open.continued ? Status(Done{}) : end(open); }
  Status end(Open& open);
  Status tell(Open& open, bool goes_on);

  StringOptions options_;
  Emit<FoundString> emit_;
  const Task& task_;
  std::vector<std::byte> buffer_;
  std::shared_ptr<const MemoryArea> area_;
  std::uint64_t run_end_ = 0;
  bool in_run_ = false;
  Open ascii_;
  std::array<Open, 2> wide_;        // by the parity of the first byte's address
  std::array<int, 2> low_{-1, -1};  // the byte before, where it may be the first of two
  std::uint64_t searched_ = 0;
  std::uint64_t found_ = 0;
};

}  // namespace ctriage::search
