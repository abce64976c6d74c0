#include "lib/search/pattern.h"

#include <re2/re2.h>

#include "lib/core/text.h"
#include "lib/search/expression.h"

namespace ctriage::search {
namespace {

Error malformed(std::string what) { return {Errc::malformed, std::move(what)}; }

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "6a 02", "6a02", "6a ?? 58": '?' stands for any byte.
Result<Pattern> parse_hex(std::string_view digits) {
  constexpr int kAny = -1;
  std::vector<int> bytes;
  std::string pair;
  for (const char c : digits) {
    if (c == ' ' || c == '\t') {
      if (!pair.empty()) return malformed("hex: half a byte before a blank");
      continue;
    }
    if (nibble(c) < 0 && c != '?') return malformed("hex: neither a digit nor ??");
    pair += c;
    if (pair.size() < 2) continue;
    if ((pair[0] == '?') != (pair[1] == '?')) return malformed("hex: half a byte that is any");
    bytes.push_back(pair[0] == '?' ? kAny : nibble(pair[0]) * 16 + nibble(pair[1]));
    pair.clear();
  }
  if (!pair.empty()) return malformed("hex: an odd number of digits");
  if (bytes.empty()) return malformed("hex: no bytes");
  if (bytes.front() == kAny || bytes.back() == kAny) return malformed("hex: begins or ends with ??");
  Pattern pattern;
  for (const int byte : bytes) pattern.is_regex = pattern.is_regex || byte == kAny;
  for (const int byte : bytes) {
    if (!pattern.is_regex)
      pattern.text += static_cast<char>(byte);
    else if (byte == kAny)
      pattern.text += "(?s:.)";
    else
      pattern.text += hex_escape(static_cast<unsigned char>(byte));
  }
  return pattern;
}

// UTF-8 as UTF-16LE. Nothing where it is no UTF-8.
std::optional<std::string> wide_of(std::string_view text) {
  if (!is_utf8(text)) return std::nullopt;
  std::string wide;
  const auto unit = [&](std::uint32_t value) {
    wide += static_cast<char>(value & 0xff);
    wide += static_cast<char>(value >> 8 & 0xff);
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    std::uint32_t point = size == 1 ? first : first & (0x7fU >> size);
    for (std::size_t i = 1; i < size; ++i)
      point = point << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fU);
    at += size;
    if (point < 0x10000) {
      unit(point);
    } else {
      unit(0xd800 + ((point - 0x10000) >> 10));
      unit(0xdc00 + ((point - 0x10000) & 0x3ff));
    }
  }
  return wide;
}

Status check_expression(const Pattern& pattern) {
  const RE2 expression(pattern.text, re2_options(pattern, kMinRegexMemoryBytes));
  if (!expression.ok()) return malformed("re: " + expression.error());
  if (RE2::FullMatch("", expression)) return malformed("re: matches where nothing is");
  return Done{};
}

}  // namespace

Status Patterns::add(Pattern pattern) {
  if (pattern.text.empty()) return malformed("an empty pattern");
  if (pattern.text.size() > kMaxPatternBytes)
    return Error{Errc::limit, "a pattern of over " + std::to_string(kMaxPatternBytes) + " bytes"};
  std::string key =
      std::string(pattern.is_regex ? "r" : "l") + (pattern.ignore_case ? "i" : "c") + pattern.text;
  if (seen_.contains(key)) return Done{};
  if (patterns_.size() >= kMaxPatterns)
    return Error{Errc::limit, "over " + std::to_string(kMaxPatterns) + " patterns"};
  if (pattern.is_regex && regexes_ >= kMaxRegexes)
    return Error{Errc::limit, "over " + std::to_string(kMaxRegexes) + " expressions"};
  if (pattern.text.size() > kMaxPatternsBytes - bytes_)
    return Error{Errc::limit, "patterns of over " + human_size(kMaxPatternsBytes) + " in all"};
  if (pattern.is_regex) {
    if (auto fine = check_expression(pattern); !fine) return fine;
  }
  bytes_ += pattern.text.size();
  regexes_ += pattern.is_regex ? 1 : 0;
  seen_.insert(std::move(key));
  patterns_.push_back(std::move(pattern));
  return Done{};
}

Status Patterns::add(std::string_view typed) {
  if (typed.size() > kMaxPatternBytes)
    return Error{Errc::limit, "a pattern of over " + std::to_string(kMaxPatternBytes) + " bytes"};
  Pattern pattern;
  bool as_wide = options_.wide;
  std::string_view rest = typed;
  const auto strip = [&](std::string_view prefix) {
    if (!rest.starts_with(prefix)) return false;
    rest.remove_prefix(prefix.size());
    return true;
  };
  if (strip("hex:")) {
    auto parsed = parse_hex(rest);
    if (!parsed) return std::move(parsed).error();
    pattern = *std::move(parsed);
    as_wide = false;
  } else if (strip("wide:")) {
    auto wide = wide_of(rest);
    if (!wide) return malformed("wide: not UTF-8");
    pattern.text = *std::move(wide);
    pattern.ignore_case = options_.ignore_case;
    as_wide = false;
  } else if (strip("re:")) {
    pattern.text = rest;
    pattern.is_regex = true;
    pattern.ignore_case = options_.ignore_case;
    as_wide = false;
  } else {
    (void)strip("text:");
    pattern.text = rest;
    pattern.ignore_case = options_.ignore_case;
  }
  pattern.name = typed;
  Pattern wide = pattern;
  if (auto added = add(std::move(pattern)); !added || !as_wide) return added;
  auto text = wide_of(rest);
  if (!text) return Done{};  // bytes that are no text have no other encoding
  wide.text = *std::move(text);
  wide.name = "wide:" + std::string(rest);
  return add(std::move(wide));
}

Status Patterns::add_file(std::string_view content) {
  if (content.size() > kMaxIndicatorBytes)
    return Error{Errc::limit, "indicators of over " + human_size(kMaxIndicatorBytes)};
  std::size_t number = 0;
  for (std::string_view line : split(content, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (auto added = add(line); !added)
      return std::move(added).error().within("line " + std::to_string(number));
  }
  return Done{};
}

Status Patterns::add_preset(std::string_view name) {
  const auto expressions = expressions_of(name);
  if (expressions.empty())
    return Error{Errc::malformed, std::string(name) + ": no such preset; there are " + preset_names()};
  for (const std::string_view expression : expressions) {
    if (auto added = add({std::string(name), true, std::string(expression), options_.ignore_case}); !added)
      return std::move(added).error().within(name);
  }
  return Done{};
}

}  // namespace ctriage::search
