#include "lib/bundle/names.h"

#include <algorithm>

#include "lib/bundle/writer.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kIndexDigits = 5;
constexpr std::size_t kPartBytes = 80;
constexpr std::size_t kKeptBytes = 60;
constexpr std::size_t kDigestDigits = 16;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_plain(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

// How many bytes ".00000" at the end takes, or 0.
std::size_t number_bytes(std::string_view path) {
  std::size_t digits = 0;
  while (digits < path.size() && is_digit(path[path.size() - 1 - digits])) ++digits;
  if (digits < kIndexDigits || digits + 1 >= path.size()) return 0;
  const std::size_t dot = path.size() - 1 - digits;
  if (path[dot] != '.' || path[dot - 1] == '/') return 0;
  return digits + 1;
}

}  // namespace

bool is_member_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxMemberName) return false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '/') {
      if (!is_plain(name[i]) && name[i] != '~' && name[i] != '%') return false;
      continue;
    }
    const auto part = name.substr(begin, i - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = i + 1;
  }
  return true;
}

bool is_closing_member(std::string_view name) {
  return name == kSums || name == kManifest || name == kManifestSignature || name == kManifestDigest;
}

bool looks_numbered(std::string_view path) { return number_bytes(path) != 0; }

MemberName split_member(std::string_view name) {
  const std::size_t tail = number_bytes(name);
  if (tail == 0) return {name, kWholeStream};
  const auto digits = name.substr(name.size() - tail + 1);
  const auto number = parse_number<std::uint32_t>(digits);
  if (!number || *number >= kMaxMembers || (digits.size() > kIndexDigits && digits.front() == '0')) {
    return {name, kWholeStream};
  }
  return {name.substr(0, name.size() - tail), *number};
}

std::string join_member(std::string_view stream, std::uint32_t chunk) {
  std::string name(stream);
  if (chunk == kWholeStream) return name;
  const std::string digits = std::to_string(chunk);
  name += '.';
  if (digits.size() < kIndexDigits) name.append(kIndexDigits - digits.size(), '0');
  return name += digits;
}

std::string member_name(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  // A name of evidence must not say how a stream is stored: readers go by that ending.
  std::size_t suffix = text.size();
  for (const auto ending : {kZstdSuffix, kJsonlSuffix}) {
    if (text.ends_with(ending)) suffix = text.size() - ending.size();
  }
  std::string name;
  name.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = (text[i] == '.' && (i == 0 || i == suffix)) || !is_plain(text[i]);
    if (!escaped) {
      name += text[i];
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[i]);
    name += '%';
    name += kHex[byte >> 4];
    name += kHex[byte & 15];
  }
  if (name.empty()) return "%";  // no text makes this one
  if (name.size() > kPartBytes) {
    std::size_t kept = kKeptBytes;
    const std::size_t percent = name.rfind('%', kept - 1);
    if (percent != std::string::npos && percent + 3 > kept) kept = percent;  // no half escape
    name.resize(kept);
    name += '~';
    name += sha256_hex(text).substr(0, kDigestDigits);
  }
  return name;
}

}  // namespace ctriage::bundle
