#pragma once
// Our one tar header: ustar, POSIX.1-1988 pax(1) "ustar Interchange Format". Written canonically for bundles,
// parsed from hostile input.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage::archive {

constexpr std::size_t kTarBlock = 512;
using TarBlock = std::array<std::byte, kTarBlock>;

// The header of a regular file: mode 0600, uid and gid 0, no user names. `name` is ASCII, at most 255 bytes
// and splits at a '/' into 155 + 100 when over 100. Errc::limit otherwise. Sizes from 8 GiB are base-256 as
// GNU tar writes them.
Result<TarBlock> make_tar_header(std::string_view name, std::uint64_t size_bytes, std::int64_t mtime_seconds);

struct TarHeader {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string link;  // target of a hard ('1') or symbolic ('2') link
  // GNU tar's old form of a sparse file ('S'), tar(5): its size with the holes, and whether more of its map
  // follows in blocks of its own, before the content.
  std::uint64_t real_size_bytes = 0;
  bool map_goes_on = false;
  char type = '0';
};

// nullopt for a block of zeros (end of archive). Errc::malformed for a bad checksum, magic or number.
Result<std::optional<TarHeader>> parse_tar_header(std::span<const std::byte> block);

inline std::uint64_t tar_padding(std::uint64_t size_bytes) {
  return (kTarBlock - size_bytes % kTarBlock) % kTarBlock;
}

}  // namespace ctriage::archive
