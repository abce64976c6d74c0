#pragma once
// One run of bytes into two SHA-256 states at the cost of one: what the processor's SHA extensions leave idle
// while they wait for one state's rounds does the other's, and the message schedule is computed once. Private
// to lib/core.
#include <cstddef>
#include <cstdint>
#include <span>

namespace ctriage {

// Whether this processor has SHA-NI, SSSE3 and SSE4.1 (Intel SDM, CPUID leaves 1 and 7).
bool has_sha_extensions();

// FIPS 180-4, 6.2.2, for each 64-byte block of `blocks`, a multiple of 64 bytes. `first` and `second` are H0
// to H7. Only where has_sha_extensions().
void compress_pair(std::span<std::uint32_t, 8> first, std::span<std::uint32_t, 8> second,
                   std::span<const std::byte> blocks);

}  // namespace ctriage
