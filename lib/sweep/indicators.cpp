#include "lib/sweep/indicators.h"

#include <cstdint>

#include "lib/core/address.h"
#include "lib/core/text.h"

namespace ctriage::sweep {
namespace {

constexpr std::size_t kSha256Digits = 64;

bool is_hexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::optional<IndicatorKind> kind_of_type(std::string_view word) {
  const std::string type = lower(word);
  if (type == "sha256") return IndicatorKind::sha256;
  if (type == "ip" || type == "ip:port" || type == "address") return IndicatorKind::address;
  if (type == "path") return IndicatorKind::path;
  if (type == "string" || type == "text") return IndicatorKind::text;
  return std::nullopt;
}

// "203.0.113.7" of "203.0.113.7:443", in canonical form. Nothing: no address.
std::optional<std::string> plain_address(std::string_view text) {
  return canonical_address(split_endpoint(text).address);
}

// With its port behind a space. Nothing: no address with a port.
std::optional<std::string> plain_endpoint(std::string_view text) {
  const auto address = plain_address(text);
  const auto port = parse_number<std::uint16_t>(split_endpoint(text).port);
  if (!address || !port) return std::nullopt;
  return *address + " " + std::to_string(*port);
}

IndicatorKind guess(const std::string& value) {
  if (value.size() == kSha256Digits && is_hexadecimal(value)) return IndicatorKind::sha256;
  if (plain_address(value)) return IndicatorKind::address;
  return value.starts_with('/') ? IndicatorKind::path : IndicatorKind::text;
}

std::string utf8(std::uint32_t point) {
  std::string out;
  const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0 | point >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
  return out;
}

// The next character of what escape_terminal made, and what it stood for.
std::string take_character(std::string_view& written) {
  const auto take = [&](std::size_t size, std::string stands_for) {
    written.remove_prefix(size);
    return stands_for;
  };
  const std::string_view rest = written.substr(1);
  if (written.front() != '\\' || rest.empty()) return take(1, std::string(1, written.front()));
  if (rest.front() == '\\') return take(2, "\\");
  if (rest.front() == 'n') return take(2, "\n");
  if (rest.front() == 't') return take(2, "\t");
  if (rest.front() == 'x' && rest.size() >= 3) {
    if (const auto byte = parse_number<std::uint8_t>(rest.substr(1, 2), 16))
      return take(4, std::string(1, static_cast<char>(*byte)));
  }
  const auto end = rest.find('}');
  if (rest.starts_with("u{") && end != rest.npos) {
    const auto point = parse_number<std::uint32_t>(rest.substr(2, end - 2), 16);
    if (point && *point <= 0x10ffff) return take(end + 2, utf8(*point));
  }
  return take(1, "\\");
}

// What `iocs` did to the value: escape_terminal, and a quote before what a spreadsheet would take for a
// formula.
std::string plain_value(std::string_view written) {
  constexpr std::string_view kFormula = "=+-@";
  if (written.size() > 1 && written[0] == '\'' && kFormula.find(written[1]) != kFormula.npos)
    written.remove_prefix(1);
  std::string value;
  while (!written.empty()) value += take_character(written);
  return value;
}

// "203.0.113.0/24".
bool is_network(std::string_view text) {
  const auto slash = text.find('/');
  return slash != text.npos && parse_number<std::uint8_t>(text.substr(slash + 1)) &&
         canonical_address(text.substr(0, slash));
}

// The second field of a line, RFC 4180. Nothing: a quote that does not end.
std::optional<std::string> csv_value(std::string_view rest) {
  if (!rest.starts_with('"')) return std::string(rest.substr(0, rest.find(',')));
  std::string value;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] != '"') {
      value += rest[i];
    } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
      value += rest[i++];
    } else {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace

Status Indicators::add(std::optional<IndicatorKind> kind, const std::string& value) {
  if (value.empty()) return Error{Errc::malformed, "no value"};
  switch (kind.value_or(guess(value))) {
    case IndicatorKind::sha256:
      if (value.size() != kSha256Digits || !is_hexadecimal(value))
        return Error{Errc::malformed, value + ": not the 64 hexadecimal digits of a SHA-256"};
      hashes_.try_emplace(lower(value), value);
      break;
    case IndicatorKind::address: {
      const auto address = plain_address(value);
      const bool has_port = !split_endpoint(value).port.empty();
      const auto endpoint = plain_endpoint(value);
      if (!address || (has_port && !endpoint)) return Error{Errc::malformed, value + ": not an IP address"};
      addresses_.try_emplace(has_port ? *endpoint : *address, value);
      break;
    }
    case IndicatorKind::path:
      if (!value.starts_with('/')) return Error{Errc::malformed, value + ": a path begins with /"};
      paths_.try_emplace(value, value);
      break;
    case IndicatorKind::text:
      texts_.insert(value);
      if (texts_.size() > kMaxTexts)
        return Error{Errc::limit, "more than " + with_commas(kMaxTexts) + " texts"};
      break;
  }
  if (size() > kMaxIndicators)
    return Error{Errc::limit, "more than " + with_commas(kMaxIndicators) + " indicators"};
  return Done{};
}

Result<Indicators> Indicators::parse(std::string_view file) {
  if (file.size() > kMaxIndicatorBytes) return Error{Errc::limit, "indicators of more than 16 MiB"};
  Indicators read;
  std::size_t number = 0;
  if (file.starts_with("\xef\xbb\xbf")) file.remove_prefix(3);  // what some editors begin UTF-8 with
  for (std::string_view line : split(file, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (trim(line).empty() || line.starts_with('#') || line.starts_with("type,value")) continue;
    const auto comma = line.find(',');
    const auto kind = comma == line.npos ? std::nullopt : kind_of_type(line.substr(0, comma));
    // Whoever wrote a type that is none of ours, or a note behind an address, does not want it as a text.
    if (comma != line.npos && !kind)
      return Error{Errc::malformed,
                   "line " + std::to_string(number) + ": " + std::string(line.substr(0, comma)) +
                       ": no type; sha256, ip, ip:port, path or string stands before a comma"};
    if (!kind && is_network(trim(line)))
      return Error{Errc::malformed, "line " + std::to_string(number) + ": " + std::string(trim(line)) +
                                        ": networks are not looked for, only addresses"};
    auto value = kind ? csv_value(line.substr(comma + 1)) : std::optional<std::string>(trim(line));
    if (kind && value) value = plain_value(*value);
    const Status added =
        value ? read.add(kind, *value) : Status(Error{Errc::malformed, "a quote that does not end"});
    if (!added) return Error(added.error()).within("line " + std::to_string(number));
  }
  return read;
}

const std::string* Indicators::find(const Known& known, std::string_view value) {
  const auto found = known.find(value);
  return found == known.end() ? nullptr : &found->second;
}

const std::string* Indicators::find_sha256(std::string_view hexadecimal) const {
  return find(hashes_, hexadecimal);
}

const std::string* Indicators::find_path(std::string_view path) const { return find(paths_, path); }

const std::string* Indicators::find_address(std::string_view with_port) const {
  if (addresses_.empty()) return nullptr;
  if (const auto endpoint = plain_endpoint(with_port)) {
    if (const std::string* known = find(addresses_, *endpoint)) return known;
  }
  const auto address = plain_address(with_port);
  return address ? find(addresses_, *address) : nullptr;
}

std::size_t Indicators::size() const {
  return hashes_.size() + addresses_.size() + paths_.size() + texts_.size();
}

}  // namespace ctriage::sweep
