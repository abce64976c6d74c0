#pragma once
// Tells which blocks may have a match, with Vectorscan. It may name too many, never too few. Not for other
// modules.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/search/pattern.h"

namespace ctriage::search {

// The pattern in the syntax that Vectorscan and RE2 share, where both mean the same by it; nothing where that
// is not sure.
std::optional<std::string> common_expression(const Pattern& pattern);

class Prefilter {
 public:
  // Null where this build or processor has no Vectorscan.
  static std::unique_ptr<Prefilter> make(std::span<const Pattern> patterns);
  virtual ~Prefilter() = default;
  // Whether scan() tells of this pattern; else its matches may be anywhere.
  [[nodiscard]] virtual bool covers(std::size_t pattern) const = 0;
  // Calls `found` for each end of a match, about in their order. What lies before and behind the bytes is not
  // known: matches at their very edges may be missed where an expression asks for that. One caller at a time.
  virtual void scan(std::span<const std::byte> bytes,
                    const std::function<void(std::uint32_t pattern, std::size_t end)>& found) = 0;
};

}  // namespace ctriage::search
