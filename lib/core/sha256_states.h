#pragma once
// One run of bytes into several SHA-256 states for little more than one: what the processor's SHA extensions
// leave idle while they wait for one state's rounds does the others', and the message schedule is computed
// once. Private to lib/core.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ctriage {

// Whether this processor has SHA-NI, SSSE3 and SSE4.1 (Intel SDM, CPUID leaves 1 and 7).
bool has_sha_extensions();

// FIPS 180-4, 6.2.2, for each 64-byte block of `blocks`, a multiple of 64 bytes, in two or three states: H0
// to H7 each. Only where has_sha_extensions().
void compress(std::array<std::uint32_t*, 2> states, std::span<const std::byte> blocks);
void compress(std::array<std::uint32_t*, 3> states, std::span<const std::byte> blocks);

}  // namespace ctriage
