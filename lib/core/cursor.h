#pragma once
// Reads integers and runs of bytes from hostile input. Sticky: the first read that does not fit fails it for
// good and later reads give zero or nothing, so a parser goes straight down the page and asks once.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "lib/core/result.h"

namespace ctriage {

class ByteCursor {
 public:
  explicit ByteCursor(std::span<const std::byte> bytes, std::endian order = std::endian::little)
      : rest_(bytes), order_(order) {}

  std::span<const std::byte> take(std::uint64_t count);
  std::string_view text(std::uint64_t count);
  std::uint8_t u8() { return static_cast<std::uint8_t>(integer(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(integer(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(integer(4)); }
  std::uint64_t u64() { return integer(8); }
  void align(std::uint64_t boundary);  // skips to the next multiple, counted from where this cursor began

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] std::size_t left() const { return rest_.size(); }
  // Errc::truncated with the place where the input ran out.
  [[nodiscard]] Error error(std::string_view of) const;

 private:
  std::uint64_t integer(std::size_t width);

  std::span<const std::byte> rest_;
  std::endian order_;
  std::uint64_t offset_ = 0;
  bool ok_ = true;
};

inline std::string_view to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace ctriage
