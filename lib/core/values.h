#pragma once
// Values of evidence: text as the kernel gave it, times and masks. No conversion happens here.
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace ctriage {

struct Bytes {  // text from evidence, any bytes. Only lib/report and the JSON writer make it printable
  std::string raw;

  Bytes() = default;
  explicit Bytes(std::string text) : raw(std::move(text)) {}
  [[nodiscard]] bool empty() const noexcept { return raw.empty(); }
  [[nodiscard]] std::string_view view() const noexcept { return raw; }
  auto operator<=>(const Bytes&) const = default;
};

struct Timestamp {  // UTC. 64 bits of nanoseconds end in 2262; ext4, XFS and tar headers do not
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  auto operator<=>(const Timestamp&) const = default;
};

struct Hex {  // addresses, masks, inodes and device ids: "0x..." in JSON, since jq rounds large integers
  std::uint64_t value = 0;
  auto operator<=>(const Hex&) const = default;
};

// RFC 3339 UTC with nanoseconds: "2026-11-21T19:28:51.000000001Z". Years outside 0..9999 are written as
// "@seconds".
std::string to_rfc3339(Timestamp at);
// Takes what to_rfc3339 gives and RFC 3339 with other offsets (containerd and Go write those). nullopt-like:
// false.
bool parse_rfc3339(std::string_view text, Timestamp& into);

}  // namespace ctriage
