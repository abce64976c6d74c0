#pragma once
// Network addresses and states as text.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ctriage::proc {

// Of 4 (IPv4) or 16 bytes (IPv6) in network order, inet_ntop(3).
std::string address_text(std::span<const std::byte> bytes);
// The same, IPv6 in brackets as where a port follows: "[::1]".
std::string host_text(std::span<const std::byte> bytes);
// include/net/tcp_states.h, from 1: "ESTABLISHED". Empty: there is no such state.
std::string_view tcp_state_name(std::uint32_t state);

}  // namespace ctriage::proc
