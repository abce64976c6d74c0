#include "lib/image/tar_split.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/core/cursor.h"

namespace ctriage::image {
namespace {

constexpr std::uint64_t kPolynomial = 0xD800000000000000;  // ISO 3309, Go's hash/crc64

constexpr std::array<std::uint64_t, 256> make_table() {
  std::array<std::uint64_t, 256> table{};
  for (std::uint64_t i = 0; i < table.size(); ++i) {
    std::uint64_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    table[i] = crc;
  }
  return table;
}

}  // namespace

std::uint64_t crc64_iso(std::uint64_t before, std::span<const std::byte> bytes) {
  static constexpr std::array<std::uint64_t, 256> kTable = make_table();
  std::uint64_t crc = ~before;
  for (const std::byte byte : bytes)
    crc = kTable[(crc ^ static_cast<std::uint64_t>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

Result<bool> RebuiltTar::next() {
  std::string_view line;
  auto more = lines_.next(line);
  if (!more || !*more) return more;
  auto entry = parse_split_entry(line);
  if (!entry) return std::move(entry).error();
  entry_ = *std::move(entry);
  given_ = 0;
  left_ = entry_.file ? entry_.size_bytes : 0;
  crc_ = 0;
  told_ = false;
  file_.reset();
  if (left_ == 0) return true;
  auto file = open_(entry_.name);
  if (file) {
    file_ = *std::move(file);
  } else {
    told_ = true;
    differs_(entry_.name, "missing");
  }
  return true;
}

void RebuiltTar::end_file() {
  ByteCursor in(std::as_bytes(std::span(entry_.payload.data(), entry_.payload.size())), std::endian::big);
  const std::uint64_t wanted = in.u64();
  if (!told_ && in.ok() && wanted != crc_) differs_(entry_.name, "content");
  file_.reset();
}

Result<std::size_t> RebuiltTar::read_file(std::span<std::byte> into) {
  const auto room = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_)));
  std::size_t got = 0;
  if (file_) {
    auto read = file_->read(room);
    if (!read) return read;
    got = *read;
  }
  if (got == 0) {  // shorter than it was: zeros keep what follows in its place
    if (!told_) differs_(entry_.name, "size");
    told_ = true;
    file_.reset();
    std::fill(room.begin(), room.end(), std::byte{0});
    got = room.size();
  }
  crc_ = crc64_iso(crc_, room.first(got));
  left_ -= got;
  if (left_ == 0) end_file();
  return got;
}

Result<std::size_t> RebuiltTar::read(std::span<std::byte> into) {
  while (true) {
    if (left_ > 0) return read_file(into);
    if (!entry_.file && given_ < entry_.payload.size()) {
      const std::size_t count = std::min(into.size(), entry_.payload.size() - given_);
      std::memcpy(into.data(), entry_.payload.data() + given_, count);
      given_ += count;
      return count;
    }
    auto more = next();
    if (!more) return std::move(more).error();
    if (!*more) return std::size_t{0};
  }
}

}  // namespace ctriage::image
