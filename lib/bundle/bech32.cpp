#include "lib/bundle/bech32.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace ctriage::bundle {
namespace {

constexpr std::string_view kDigits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
constexpr std::size_t kChecksum = 6;
constexpr std::size_t kMaxText = 1'000;

std::uint32_t step(std::uint32_t sum, unsigned value) {
  constexpr std::array<std::uint32_t, 5> kGenerator{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd,
                                                    0x2a1462b3};
  const std::uint32_t top = sum >> 25;
  sum = (sum & 0x1ff'ffff) << 5 ^ value;
  for (unsigned i = 0; i < kGenerator.size(); ++i) {
    if ((top >> i & 1) != 0) sum ^= kGenerator[i];
  }
  return sum;
}

std::uint32_t begin(std::string_view prefix) {
  std::uint32_t sum = 1;
  for (const char c : prefix) sum = step(sum, static_cast<unsigned char>(c) >> 5);
  sum = step(sum, 0);
  for (const char c : prefix) sum = step(sum, static_cast<unsigned char>(c) & 31);
  return sum;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string to_bech32(std::string_view prefix, std::span<const std::byte> bytes) {
  std::string text = std::string(prefix) + '1';
  std::uint32_t sum = begin(prefix);
  const auto add = [&](unsigned value) {
    sum = step(sum, value);
    text += kDigits[value];
  };
  unsigned held = 0;
  unsigned bits = 0;
  for (const std::byte byte : bytes) {
    held = (held << 8 | std::to_integer<unsigned>(byte)) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) add(held >> (bits - 5) & 31);
  }
  if (bits > 0) add(held << (5 - bits) & 31);
  for (std::size_t i = 0; i < kChecksum; ++i) sum = step(sum, 0);
  sum ^= 1;
  for (std::size_t i = 0; i < kChecksum; ++i) text += kDigits[sum >> (5 * (kChecksum - 1 - i)) & 31];
  return text;
}

std::optional<std::string> from_bech32(std::string_view prefix, std::string_view text) {
  if (text.size() > kMaxText || text.size() < prefix.size() + 1 + kChecksum) return std::nullopt;
  const bool has_lower = std::any_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  const bool has_upper = std::any_of(text.begin(), text.end(), [](char c) { return lower(c) != c; });
  if (has_lower && has_upper) return std::nullopt;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (lower(text[i]) != prefix[i]) return std::nullopt;
  }
  if (text[prefix.size()] != '1') return std::nullopt;
  const std::string_view digits = text.substr(prefix.size() + 1);
  std::uint32_t sum = begin(prefix);
  std::string bytes;
  unsigned held = 0;
  unsigned bits = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const auto value = kDigits.find(lower(digits[i]));
    if (value == std::string_view::npos) return std::nullopt;
    sum = step(sum, static_cast<unsigned>(value));
    if (i + kChecksum >= digits.size()) continue;
    held = (held << 5 | static_cast<unsigned>(value)) & 0xfff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(held >> bits & 0xff);
  }
  // What fills the last digit up is less than one digit, and zero.
  if (sum != 1 || bits >= 5 || (held & ((1U << bits) - 1)) != 0) return std::nullopt;
  return bytes;
}

}  // namespace ctriage::bundle
