#pragma once
// What is taken of a writable volume: SEMANTICS.md.
#include <cstdint>

namespace ctriage::collect {

constexpr std::uint64_t kMaxVolumeNames = 2'000'000;  // looked at, of one volume and in each of two passes
constexpr std::uint64_t kMaxVolumeRecords = 250'000;  // listed, of one volume
constexpr std::uint64_t kMaxSystemRecords =
    50'000;  // of which older than the container, where the node's own
constexpr std::uint64_t kMaxVolumeBytes = std::uint64_t{4}
                                          << 30;  // of one volume, but for programs and what is newer
constexpr std::uint64_t kMaxVolumeProgramBytes = std::uint64_t{1} << 30;  // of one program

}  // namespace ctriage::collect
