#pragma once
// Text from evidence on its way out, and small parsing helpers that never throw.
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ctriage {

// Valid UTF-8 (RFC 3629: no surrogates, nothing over U+10FFFF, no overlong forms).
bool is_utf8(std::string_view text);

// The one escaping function for terminals: control characters (C0, DEL, C1), the Unicode characters that
// reorder or hide text (bidi controls, zero width, line separators) and bytes that are not UTF-8 become \n,
// \t, \xHH or \u{HEX}; a backslash becomes \\. What is left can be printed to any terminal and read back
// without doubt.
std::string escape_terminal(std::string_view text);

// A JSON string literal with its quotes, pure ASCII; a byte that is not UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

// A whole number and nothing else, or nothing.
template <class T>
std::optional<T> parse_number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// Fields between runs of blanks and tabs, as /proc tables have them.
std::vector<std::string_view> split_fields(std::string_view line);
std::vector<std::string_view> split(std::string_view text, char delimiter);
std::string_view trim(std::string_view text);

// "1.3 GiB", "214 MiB", "38 KiB", "12 B": three significant digits at most.
std::string human_size(std::uint64_t bytes);
// "3h12m", "41m", "9d", "12s".
std::string human_duration(std::int64_t seconds);
// "12 ms": any part of one counts.
std::string milliseconds_text(std::int64_t ns);

// "7,936".
std::string with_commas(std::uint64_t count);
// "1 gap", "2,000 gaps".
std::string counted(std::uint64_t count, std::string_view one, std::string_view many);
// "512M", "8G", "1048576": a whole number with at most one of K, M, G, T (powers of 1024), or nothing.
std::optional<std::uint64_t> parse_size(std::string_view text);

// "90s", "10m", "2h", "1d", "90": seconds, or nothing.
std::optional<std::int64_t> parse_duration(std::string_view text);

// One word of a shell command: quoted where a shell would see more than a plain word. Commands that we print
// are copied into a root shell, and names in them are the attacker's.
std::string shell_word(std::string_view text);

}  // namespace ctriage
