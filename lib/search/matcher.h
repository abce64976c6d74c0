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
  // Patterns whose tries cost more than they may, and are not looked for any more: sorted.
  [[nodiscard]] const std::vector<std::size_t>& given_up() const { return given_up_; }

 private:
  std::optional<Found> find_expression(std::size_t pattern, std::string_view text, std::size_t from,
                                       std::size_t before);
  std::vector<Pattern> patterns_;
  std::unique_ptr<Prefilter> prefilter_;
  std::vector<std::unique_ptr<re2::RE2>> expressions_;  // none for literals
  std::vector<std::uint32_t> tries_;                    // of places where only what is too long matches
  std::vector<std::size_t> given_up_;
};

}  // namespace ctriage::search
