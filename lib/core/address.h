#pragma once
// IP addresses as text.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ctriage {

// In the one form that equal addresses have in common: IPv6 shortened, IPv4 in IPv6 (RFC 4291 2.5.5.2: how a
// socket of IPv6 has a peer of IPv4) as IPv4. Nothing: no address.
std::optional<std::string> canonical_address(std::string_view text);

struct Endpoint {
  std::string_view address;  // without brackets
  std::string_view port;     // as it stands there; empty: none
};
// "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80". Whether it is an address is not looked at.
Endpoint split_endpoint(std::string_view text);

// Leads to no other machine: 127.0.0.0/8, ::1, 0.0.0.0, ::. Of a canonical address.
bool is_own_address(std::string_view canonical);

}  // namespace ctriage
