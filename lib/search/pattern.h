#pragma once
// What is looked for. Patterns come from a command line, a preset or a file of indicators; the last is
// untrusted like any other input. SEMANTICS.md says what each form means.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::search {

constexpr std::size_t kMaxMatchBytes = 4'096;    // of a match
constexpr std::size_t kMaxPatternBytes = 4'096;  // of one pattern; a literal is what can match
// Vectorscan takes about 5 KiB for each while it prepares, and of expressions more: with these limits a
// search stays below 64 MiB.
constexpr std::size_t kMaxPatterns = 8'192;              // of one search
constexpr std::size_t kMaxRegexes = 128;                 // of them: each has memory of its own
constexpr std::size_t kMaxPatternsBytes = 1 << 20;       // of all of them
constexpr std::size_t kMaxIndicatorBytes = 16 << 20;     // of a file of indicators
constexpr std::size_t kRegexMemoryBytes = 32 << 20;      // of RE2, for all expressions
constexpr std::size_t kMinRegexMemoryBytes = 256 << 10;  // of RE2, for one

struct Pattern {
  std::string name;  // as it was typed, or the preset's
  bool is_regex = false;
  std::string text;  // the bytes, or an expression of RE2's over bytes
  bool ignore_case = false;

  auto operator<=>(const Pattern&) const = default;
};

struct PatternOptions {
  bool ignore_case = false;  // of ASCII letters
  bool wide = false;         // literals as UTF-16LE as well
};

// What is looked for, each once.
class Patterns {
 public:
  explicit Patterns(PatternOptions options) : options_(options) {}
  // One pattern as it is typed: "text", "text:text", "hex:6a ?? 58", "wide:text", "re:expression".
  // Errc::malformed, limit.
  Status add(std::string_view typed);
  // A line each; empty lines and those that begin with '#' are none. The error names the line.
  Status add_file(std::string_view content);
  // Errc::not_found: preset_names() has those that there are.
  Status add_preset(std::string_view name);
  [[nodiscard]] const std::vector<Pattern>& all() const { return patterns_; }

 private:
  Status add(Pattern pattern);
  PatternOptions options_;
  std::vector<Pattern> patterns_;
  std::set<std::string, std::less<>> seen_;
  std::size_t regexes_ = 0;
  std::size_t bytes_ = 0;
};

std::string preset_names();
// The expressions of a preset; empty: there is none of that name.
std::vector<std::string_view> expressions_of(std::string_view preset);

}  // namespace ctriage::search
