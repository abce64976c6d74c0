#include "lib/core/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace ctriage {

namespace {

struct Decoded {
  char32_t point = 0;
  std::size_t size = 0;  // bytes it took; 0: not UTF-8
};

// One character at the front of `text`, which is not empty. RFC 3629 section 4, by its table of byte ranges.
Decoded decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xc2 || lead > 0xf4) return {};  // a tail, an overlong form, over U+10FFFF
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() < size) return {};
  // The second byte is where overlong forms (E0, F0), surrogates (ED) and too large values (F4) show.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return {};
  auto point = static_cast<char32_t>(lead & (size == 2 ? 0x1f : size == 3 ? 0x0f : 0x07));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    point = point << 6 | (byte(i) & 0x3fu);
  }
  return {point, size};
}

// Characters that draw nothing, reorder what follows or end a line: what a name looks like must be what it
// is.
bool misleads(char32_t point) {
  struct Range {
    char32_t first;
    char32_t last;
  };
  static constexpr std::array<Range, 18> kRanges{{
      {0x80, 0x9f},         // C1 controls: 9b is CSI to a terminal that knows 8-bit controls
      {0xad, 0xad},         // soft hyphen
      {0x34f, 0x34f},       // combining grapheme joiner
      {0x61c, 0x61c},       // Arabic letter mark
      {0x115f, 0x1160},     // Hangul fillers
      {0x17b4, 0x17b5},     // Khmer inherent vowels
      {0x180b, 0x180f},     // Mongolian selectors and vowel separator
      {0x200b, 0x200f},     // zero width, direction marks
      {0x2028, 0x202e},     // line and paragraph separators, bidi embeddings and overrides
      {0x2060, 0x206f},     // word joiner, invisible operators, bidi isolates
      {0x3164, 0x3164},     // Hangul filler
      {0xe000, 0xf8ff},     // private use: fonts draw what they like
      {0xfe00, 0xfe0f},     // variation selectors
      {0xfeff, 0xfeff},     // zero width no-break space
      {0xffa0, 0xffa0},     // half-width Hangul filler
      {0xfff0, 0xffff},     // interlinear annotation, specials, noncharacters
      {0x1d173, 0x1d17a},   // musical formatting
      {0xe0000, 0x10ffff},  // tags, selectors, private use
  }};
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [&](const Range& range) { return point >= range.first && point <= range.last; });
}

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Stands in a JSON string as it is, and is all of a character.
bool is_plain_json(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = decode(text).size;
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string escape_terminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [point, size] = decode(text);
    if (point == '\\') {
      out += "\\\\";
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\t') {
      out += "\\t";
    } else if (size == 0 || point < 0x20 || point == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
    } else if (misleads(point)) {
      out += fmt::format("\\u{{{:x}}}", static_cast<std::uint32_t>(point));
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  const auto unit = [&](std::uint32_t value) { out += fmt::format("\\u{:04x}", value); };
  out += '"';
  while (!text.empty()) {
    const auto plain = std::find_if_not(text.begin(), text.end(), is_plain_json);
    out.append(text.begin(), plain);
    text.remove_prefix(static_cast<std::size_t>(plain - text.begin()));
    if (text.empty()) break;
    const auto [point, size] = decode(text);
    if (size == 0) {
      out += "\\ufffd";
    } else if (point == '"' || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\t') {
      out += "\\t";
    } else if (point < 0x10000) {
      unit(point);
    } else {  // a surrogate pair, RFC 8259 section 7
      unit(0xd800 + ((point - 0x10000) >> 10));
      unit(0xdc00 + ((point - 0x10000) & 0x3ff));
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  out += '"';
}

std::string to_base64(std::string_view bytes) {  // RFC 4648 section 4
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::string_view group = bytes.substr(at, 3);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (i < group.size() ? static_cast<unsigned char>(group[i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= group.size() ? kBase64[bits >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const std::string_view group = text.substr(at, 4);
    std::size_t digits = 4;
    if (at + 4 == text.size()) {
      while (digits > 2 && group[digits - 1] == '=') --digits;
    }
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const int value = i < digits ? base64_digit(group[i]) : 0;
      if (value < 0) return std::nullopt;
      bits = bits << 6 | static_cast<std::uint32_t>(value);
    }
    for (std::size_t i = 0; i + 1 < digits; ++i) out += static_cast<char>(bits >> (16 - 8 * i) & 0xff);
    // The bits that no byte takes must be zero: one text for one value.
    if (digits < 4 && (bits & ((1u << (8 * (4 - digits))) - 1)) != 0) return std::nullopt;
  }
  return out;
}

std::vector<std::string_view> split_fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return fields;
    const std::size_t end = std::min(line.find_first_of(" \t", begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

std::vector<std::string_view> split(std::string_view text, char delimiter) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(delimiter);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string human_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1'000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 999.5 would round to a fourth digit: the next unit takes it.
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1'024;
    ++unit;
  }
  return std::round(value * 10) < 100 ? fmt::format("{:.1f} {}", value, kUnits[unit])
                                      : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

std::string human_duration(std::int64_t seconds) {
  if (seconds < 0) return "-" + human_duration(seconds == INT64_MIN ? INT64_MAX : -seconds);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3'600) return fmt::format("{}m", seconds / 60);
  if (seconds < 86'400) return fmt::format("{}h{}m", seconds / 3'600, seconds / 60 % 60);
  return fmt::format("{}d", seconds / 86'400);
}

std::string milliseconds_text(std::int64_t ns) { return std::to_string((ns + 999'999) / 1'000'000) + " ms"; }

std::string with_commas(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
  return with_commas(count) + ' ' + std::string(count == 1 ? one : many);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  std::uint64_t unit = 1;
  if (const auto at = text.empty() ? kUnits.npos : kUnits.find(text.back()); at != kUnits.npos) {
    unit = std::uint64_t{1} << (10 * (at + 1));
    text.remove_suffix(1);
  }
  const auto count = parse_number<std::uint64_t>(text);
  if (!count || *count > UINT64_MAX / unit) return std::nullopt;
  return *count * unit;
}

std::optional<std::int64_t> parse_duration(std::string_view text) {
  constexpr std::array<std::pair<char, std::int64_t>, 4> kUnits{
      {{'s', 1}, {'m', 60}, {'h', 3'600}, {'d', 86'400}}};
  constexpr std::int64_t kLongest = 366 * 86'400;
  std::int64_t unit = 1;
  for (const auto& [letter, seconds] : kUnits) {
    if (!text.ends_with(letter)) continue;
    unit = seconds;
    text.remove_suffix(1);
    break;
  }
  const auto count = parse_number<std::uint32_t>(text);
  if (!count || *count > kLongest / unit) return std::nullopt;
  return *count * unit;
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) return std::string(text);
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\"'\"'";  // no backslash: lib/report would double it
    } else {
      out += c;
    }
  }
  return out += '\'';
}

}  // namespace ctriage
