#include "lib/rules/number.h"

#include <arpa/inet.h>

#include <algorithm>

#include "lib/core/text.h"

namespace ctriage::rules {
namespace {

constexpr unsigned kBits4 = 32;
constexpr unsigned kBits6 = 128;
constexpr std::size_t kMapped = 12;  // bytes in front of an IPv4 address, RFC 4291 2.5.5.2

}  // namespace

std::strong_ordering Whole::operator<=>(const Whole& other) const {
  if (negative != other.negative)
    return negative ? std::strong_ordering::less : std::strong_ordering::greater;
  return negative ? other.size <=> size : size <=> other.size;
}

std::optional<Whole> parse_whole(std::string_view text) {
  Whole whole;
  whole.negative = text.starts_with('-');
  if (whole.negative) text.remove_prefix(1);
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  const auto size = parse_number<std::uint64_t>(text, hex ? 16 : 10);
  if (!size) return std::nullopt;
  whole.size = *size;
  if (whole.size == 0) whole.negative = false;
  return whole;
}

std::optional<Address> parse_address(const std::string& text) {
  Address address{};
  if (text.find('\0') != std::string::npos) return std::nullopt;
  if (inet_pton(AF_INET6, text.c_str(), address.data()) == 1) return address;
  std::array<std::uint8_t, 4> four{};
  if (inet_pton(AF_INET, text.c_str(), four.data()) != 1) return std::nullopt;
  address[10] = address[11] = 0xff;
  std::ranges::copy(four, address.begin() + kMapped);
  return address;
}

std::optional<Network> parse_network(std::string_view text) {
  const auto slash = text.find('/');
  const std::string host(text.substr(0, slash));
  const auto address = parse_address(host);
  if (!address) return std::nullopt;
  const bool four = host.find(':') == std::string::npos;
  const unsigned most = four ? kBits4 : kBits6;
  unsigned bits = most;
  if (slash != std::string_view::npos) {
    const auto typed = parse_number<unsigned>(text.substr(slash + 1));
    if (!typed || *typed > most) return std::nullopt;
    bits = *typed;
  }
  return Network{*address, four ? bits + kBits6 - kBits4 : bits};
}

bool is_in(const Network& network, const Address& address) {
  const std::size_t whole = network.bits / 8;
  if (!std::equal(address.begin(), address.begin() + static_cast<std::ptrdiff_t>(whole),
                  network.address.begin()))
    return false;
  const unsigned rest = network.bits % 8;
  return rest == 0 || ((address[whole] ^ network.address[whole]) >> (8 - rest)) == 0;
}

}  // namespace ctriage::rules
