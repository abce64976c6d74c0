#include "lib/search/matcher.h"

#include <algorithm>
#include <cstring>

#include "lib/search/expression.h"

namespace ctriage::search {
namespace {

// Places that are looked at together: more, and what is found has to be found again to be cut to its length.
constexpr std::size_t kStepBytes = 32 << 10;

unsigned char lower(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 'A' && byte <= 'Z' ? static_cast<unsigned char>(byte + 0x20) : byte;
}

std::optional<Found> find_literal(const Pattern& pattern, std::string_view text, std::size_t from,
                                  std::size_t before) {
  const std::string& wanted = pattern.text;
  if (text.size() < wanted.size()) return std::nullopt;
  const std::size_t last = std::min(before, text.size() - wanted.size() + 1);  // one past the last start
  if (from >= last) return std::nullopt;
  const std::string_view part = text.substr(from, last - from + wanted.size() - 1);
  std::size_t at = std::string_view::npos;
  if (!pattern.ignore_case) {
    const void* hit = ::memmem(part.data(), part.size(), wanted.data(), wanted.size());
    if (hit == nullptr) return std::nullopt;
    at = static_cast<std::size_t>(static_cast<const char*>(hit) - part.data());
  } else {
    const auto hit = std::search(part.begin(), part.end(), wanted.begin(), wanted.end(),
                                 [](char a, char b) { return lower(a) == lower(b); });
    if (hit == part.end()) return std::nullopt;
    at = static_cast<std::size_t>(hit - part.begin());
  }
  return Found{from + at, from + at + wanted.size()};
}

}  // namespace

Matcher::Matcher(std::span<const Pattern> patterns, bool prefilter)
    : patterns_(patterns.begin(), patterns.end()), expressions_(patterns.size()), tries_(patterns.size(), 0) {
  const auto count = static_cast<std::size_t>(std::ranges::count(patterns_, true, &Pattern::is_regex));
  const std::size_t memory = std::clamp(kRegexMemoryBytes / std::max<std::size_t>(count, 1),
                                        kMinRegexMemoryBytes, std::size_t{8 << 20});
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (patterns_[i].is_regex)
      expressions_[i] = std::make_unique<re2::RE2>(patterns_[i].text, re2_options(patterns_[i], memory));
  }
  if (prefilter) prefilter_ = Prefilter::make(patterns_);
}

Matcher::~Matcher() = default;

std::optional<Found> Matcher::find(std::size_t pattern, std::string_view text, std::size_t from,
                                   std::size_t before) {
  before = std::min(before, text.size());
  if (!patterns_[pattern].is_regex) return find_literal(patterns_[pattern], text, from, before);
  while (from < before) {
    const std::size_t step = std::min(before, from + kStepBytes);
    if (auto found = find_expression(pattern, text, from, step)) return found;
    from = step;
  }
  return std::nullopt;
}

// What matches at a place and is longer than a match may be is cut, where something shorter matches there.
std::optional<Found> Matcher::find_expression(std::size_t pattern, std::string_view text, std::size_t from,
                                              std::size_t before) {
  const re2::RE2& expression = *expressions_[pattern];
  const std::size_t to = std::min(text.size(), before + kMaxMatchBytes);
  while (from < before && tries_[pattern] <= kMaxTooLong) {
    re2::StringPiece part;
    if (!expression.Match(text, from, to, re2::RE2::UNANCHORED, &part, 1)) return std::nullopt;
    const auto start = static_cast<std::size_t>(part.data() - text.data());
    if (start >= before) return std::nullopt;
    const std::size_t end = std::min(text.size(), start + kMaxMatchBytes);
    // The longest up to `to` is the longest of all when it ends where more could have come.
    const bool known = part.size() <= kMaxMatchBytes && end <= to;
    if (!known && !expression.Match(text, start, end, re2::RE2::ANCHOR_START, &part, 1)) part = {};
    if (!part.empty()) return Found{start, start + part.size()};
    from = start + 1;
    if (!known) ++tries_[pattern];
  }
  return std::nullopt;
}

}  // namespace ctriage::search
