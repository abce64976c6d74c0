#include "lib/proc/address.h"

#include <arpa/inet.h>

#include <array>

namespace ctriage::proc {
namespace {

constexpr std::size_t kBytesOfV6 = 16;

}  // namespace

std::string address_text(std::span<const std::byte> bytes) {
  std::array<char, INET6_ADDRSTRLEN> name{};
  const int family = bytes.size() == kBytesOfV6 ? AF_INET6 : AF_INET;
  ::inet_ntop(family, bytes.data(), name.data(),
              name.size());  // fails for want of room only, and there is enough
  return name.data();
}

std::string host_text(std::span<const std::byte> bytes) {
  const std::string address = address_text(bytes);
  return bytes.size() == kBytesOfV6 ? "[" + address + "]" : address;
}

std::string_view tcp_state_name(std::uint32_t state) {
  constexpr std::array<std::string_view, 14> kNames = {
      "",      "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",    "TIME_WAIT",
      "CLOSE", "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "NEW_SYN_RECV", "BOUND_INACTIVE"};
  return state < kNames.size() ? kNames[state] : std::string_view();
}

}  // namespace ctriage::proc
