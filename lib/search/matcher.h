#pragma once
// Matches of single patterns in bytes that are in memory: SEMANTICS.md. Not for other modules.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/search/pattern.h"
#include "lib/search/prefilter.h"

namespace re2 {
class RE2;
}

namespace ctriage::search {

struct Found {
  std::size_t start = 0;
  std::size_t end = 0;
};

// Places of one pattern where only what is too long matches: with more it is not looked for any more.
constexpr std::uint32_t kMaxTooLong = 1 << 20;

class Matcher {
 public:
  // `prefilter`: with Vectorscan where there is one. What is found is the same without.
  Matcher(std::span<const Pattern> patterns, bool prefilter);
  ~Matcher();
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  // The first match that begins in [from, before) and ends in `text`, as long as it can be, at most
  // kMaxMatchBytes. What stands around it in `text` is what \b and the like see. Nothing: there is none.
  std::optional<Found> find(std::size_t pattern, std::string_view text, std::size_t from, std::size_t before);
  [[nodiscard]] std::span<const Pattern> patterns() const { return patterns_; }
  [[nodiscard]] Prefilter* prefilter() const { return prefilter_.get(); }
  // Of each pattern: places where only what is too long for a match matches.
  [[nodiscard]] const std::vector<std::uint32_t>& too_long() const { return tries_; }

 private:
  std::optional<Found> find_expression(std::size_t pattern, std::string_view text, std::size_t from,
                                       std::size_t before);
  std::vector<Pattern> patterns_;
  std::unique_ptr<Prefilter> prefilter_;
  std::vector<std::unique_ptr<re2::RE2>> expressions_;  // none for literals
  std::vector<std::uint32_t> tries_;
};

}  // namespace ctriage::search
