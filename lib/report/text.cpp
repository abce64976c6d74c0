#include "lib/report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/core/text.h"

namespace ctriage::report {
namespace {

struct Decoded {
  std::uint32_t point = 0;
  std::size_t size = 1;
};

// One code point of valid UTF-8; a stray byte counts as one column.
Decoded decode(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t lead = byte(0);
  const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (size == 1 || size > text.size()) return {lead, 1};
  std::uint32_t point = lead & (0xFFU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) point = point << 6U | (byte(i) & 0x3FU);
  return {point, size};
}

struct Range {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

// Not the whole of Unicode: the blocks that names really use. An error here costs alignment, nothing else.
constexpr std::array<Range, 6> kCombining{
    {{0x300, 0x36F}, {0x483, 0x489}, {0x591, 0x5BD}, {0x1AB0, 0x1AFF}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}}};
constexpr std::array<Range, 7> kWide{{{0x1100, 0x115F},
                                      {0x2E80, 0xA4CF},
                                      {0xAC00, 0xD7A3},
                                      {0xF900, 0xFAFF},
                                      {0xFE30, 0xFE6F},
                                      {0xFF00, 0xFF60},
                                      {0x1F300, 0x1FAFF}}};

template <std::size_t N>
bool is_in(const std::array<Range, N>& ranges, std::uint32_t point) {
  return std::ranges::any_of(ranges, [point](Range r) { return point >= r.first && point <= r.last; });
}

std::size_t columns_of(std::uint32_t point) {
  if (is_in(kCombining, point)) return 0;
  return is_in(kWide, point) ? 2 : 1;
}

}  // namespace

std::string safe(std::string_view raw) {
  const std::string escaped = escape_terminal(raw);
  std::string out;
  out.reserve(escaped.size());
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    const bool edge = i == 0 || i + 1 == escaped.size() || escaped[i - 1] == ' ';
    if (escaped[i] == ' ' && edge) {
      out += "\\x20";
    } else {
      out += escaped[i];
    }
  }
  return out;
}

std::string safe_quoted(std::string_view raw) {
  std::string out = "\"";
  for (const char c : safe(raw)) out += c == '"' ? std::string("\\\"") : std::string(1, c);
  return out += '"';
}

std::string safe_command(const std::vector<Bytes>& argv, std::size_t most) {
  std::string out;
  std::size_t taken = 0;
  for (const Bytes& argument : argv) {
    if (!out.empty()) out += ' ';
    const std::string_view part = argument.view().substr(0, most - taken);
    const bool quote = part.empty() || part.find_first_of(" \t\n\"'") != std::string_view::npos;
    out += quote ? safe_quoted(part) : safe(part);
    taken += part.size();
    if (taken >= most) return out + "...";
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Decoded next = decode(text);
    width += columns_of(next.point);
    text.remove_prefix(next.size);
  }
  return width;
}

std::string fit(std::string_view text, std::size_t width) {
  if (width == 0 || display_width(text) <= width) return std::string(text);
  constexpr std::string_view kCut = "...";
  if (width <= kCut.size()) return std::string(kCut.substr(0, width));
  std::size_t used = 0;
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const Decoded next = decode(text.substr(bytes));
    if (used + columns_of(next.point) > width - kCut.size()) break;
    used += columns_of(next.point);
    bytes += next.size;
  }
  return std::string(text.substr(0, bytes)).append(kCut);
}

std::string pad_right(std::string text, std::size_t width) {
  const std::size_t has = display_width(text);
  if (has < width) text.append(width - has, ' ');
  return text;
}

std::string pad_left(std::string text, std::size_t width) {
  const std::size_t has = display_width(text);
  if (has < width) text.insert(0, width - has, ' ');
  return text;
}

std::string table_head(const std::vector<Column>& columns) {
  std::vector<std::string> titles;
  for (const Column& column : columns) titles.emplace_back(column.title);
  return table_row(columns, titles, Style{.color = false, .width = 0});
}

std::string table_row(const std::vector<Column>& columns, const std::vector<std::string>& cells,
                      const Style& style) {
  std::string line;
  for (std::size_t i = 0; i < columns.size() && i < cells.size(); ++i) {
    const Column& column = columns[i];
    if (i > 0) line += ' ';
    line += column.right ? pad_left(cells[i], column.width) : pad_right(cells[i], column.width);
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (columns.empty() || !columns.back().whole) line = fit(line, style.width);
  return line += '\n';
}

std::string severity_word(Severity severity) {
  constexpr std::array<std::string_view, 5> kWords{"INFO", "LOW", "MED", "HIGH", "CRIT"};
  const auto index = static_cast<std::size_t>(severity);
  return std::string(index < kWords.size() ? kWords[index] : "?");
}

std::string painted(Severity severity, std::string text, const Style& style) {
  if (!style.color || severity < Severity::medium) return text;
  const std::string_view code = severity == Severity::medium ? "33"
                                : severity == Severity::high ? "31"
                                                             : "1;31";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string from_text(const Executable& exe) {
  if (exe.deleted && exe.origin != Origin::memfd) return "DELETED";
  std::string text(to_text(exe.origin));
  if (exe.origin == Origin::image) return text;
  if (exe.origin == Origin::unknown) return "?";
  for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return text;
}

std::string user_text(std::uint32_t uid) { return uid == 0 ? std::string("root") : std::to_string(uid); }

std::string seconds_text(std::int64_t ns, int decimals) {
  return fmt::format("{:.{}f} s", static_cast<double>(ns) / 1e9, decimals);
}

std::string mode_text(std::uint32_t mode) { return fmt::format("{:04o}", mode & 07777U); }

std::string column_size(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGTPE";
  if (bytes == 0) return "0";
  if (bytes < 1024) return fmt::format("{}B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return value < 9.95 ? fmt::format("{:.1f}{}", value, kUnits[unit])
                      : fmt::format("{:.0f}{}", value, kUnits[unit]);
}

std::string short_id(std::string_view id) { return safe(id.substr(0, 12)); }

std::string clock_seconds(Timestamp at) {
  const std::string text = to_rfc3339(at);
  return text.size() > 19 && text[0] != '@' ? text.substr(11, 8) + 'Z' : text;
}

std::string date_seconds(Timestamp at) {
  const std::string text = to_rfc3339(at);
  return text.size() > 19 && text[0] != '@' ? text.substr(0, 10) + ' ' + text.substr(11, 8) + 'Z' : text;
}

std::string join(const std::vector<std::string>& parts, std::string_view between) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) out.append(i > 0 ? between : "").append(parts[i]);
  return out;
}

bool is_secret_name(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  constexpr std::array<std::string_view, 5> kParts{"PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL"};
  return std::ranges::any_of(kParts,
                             [&upper](std::string_view part) { return upper.find(part) != upper.npos; });
}

std::string labelled(std::string_view label, std::string_view safe_text) {
  return pad_right(std::string(label), kLabelColumns - 1).append(" ").append(safe_text).append("\n");
}

std::string gap_lines(const GapTally& gaps, bool every, const Style& style) {
  std::string out;
  for (const std::string& line : gaps.lines(every ? SIZE_MAX : kFewGaps)) {
    out += "   " + (every ? line : fit(line, 2 * std::size_t{style.width})) + '\n';
  }
  return out;
}

std::string gaps_block(const GapTally& gaps, bool every, const Style& style) {
  return labelled("gaps", gaps.text()) + gap_lines(gaps, every, style);
}

std::string next_lines(std::string_view label, const std::vector<std::pair<std::string, std::string>>& hints,
                       const Style& style) {
  std::size_t widest = 0;
  for (const auto& [command, purpose] : hints) widest = std::max(widest, display_width(safe(command)));
  std::string out;
  for (const auto& [command, purpose] : hints) {
    std::string line = safe(command);
    // A command is copied: it is never cut. Its purpose goes where there is no room for it.
    const std::string told = pad_right(line, widest) + "   " + safe(purpose);
    if (!purpose.empty() && (style.width == 0 || display_width(told) + kLabelColumns <= style.width))
      line = told;
    out += labelled(out.empty() ? label : std::string_view(), line);
  }
  return out;
}

}  // namespace ctriage::report
