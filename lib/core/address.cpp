#include "lib/core/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace ctriage {

std::optional<std::string> canonical_address(std::string_view text) {
  const std::string address(text);
  if (address.size() != std::char_traits<char>::length(address.c_str())) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> out{};
  in_addr four{};
  in6_addr six{};
  if (::inet_pton(AF_INET, address.c_str(), &four) == 1) return address;
  if (::inet_pton(AF_INET6, address.c_str(), &six) != 1) return std::nullopt;
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&six);
  const void* bytes = mapped ? static_cast<const void*>(&six.s6_addr[12]) : static_cast<const void*>(&six);
  // Fails for want of room only, and there is enough.
  return ::inet_ntop(mapped ? AF_INET : AF_INET6, bytes, out.data(), out.size());
}

Endpoint split_endpoint(std::string_view text) {
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == text.npos) return {text, {}};
    const std::string_view rest = text.substr(end + 1);
    return {text.substr(1, end - 1), rest.starts_with(':') ? rest.substr(1) : rest};
  }
  const auto colon = text.find(':');
  if (colon == text.npos || text.find(':', colon + 1) != text.npos) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

bool is_own_address(std::string_view canonical) {
  return canonical.starts_with("127.") || canonical == "::1" || canonical == "0.0.0.0" || canonical == "::";
}

}  // namespace ctriage
