#pragma once
// Whole numbers and addresses as fields of artifacts have them.
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/rules/match.h"

namespace ctriage::rules {

struct Whole {  // -2^64 to 2^64, both ends out
  bool negative = false;
  std::uint64_t size = 0;
  std::strong_ordering operator<=>(const Whole& other) const;
  bool operator==(const Whole& other) const = default;
};
// "-7", "42", "0x1f".
std::optional<Whole> parse_whole(std::string_view text);

using Address = std::array<std::uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d
std::optional<Address> parse_address(const std::string& text);
// "10.0.0.0/8", "fd00::/8", or an address alone. Bits after the prefix may be set, they do not matter.
std::optional<Network> parse_network(std::string_view text);
bool is_in(const Network& network, const Address& address);

}  // namespace ctriage::rules
