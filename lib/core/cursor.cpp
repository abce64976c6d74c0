#include "lib/core/cursor.h"

namespace ctriage {

std::span<const std::byte> ByteCursor::take(std::uint64_t count) {
  if (count > rest_.size()) {  // compare with what is left; offset + count could wrap
    ok_ = false;
    rest_ = {};
    return {};
  }
  const auto head = rest_.first(static_cast<std::size_t>(count));
  rest_ = rest_.subspan(head.size());
  offset_ += head.size();
  return head;
}

std::string_view ByteCursor::text(std::uint64_t count) { return to_text(take(count)); }

void ByteCursor::align(std::uint64_t boundary) {
  if (boundary == 0) return;
  const std::uint64_t over = offset_ % boundary;
  if (over != 0) take(boundary - over);
}

std::uint64_t ByteCursor::integer(std::size_t width) {
  const auto bytes = take(width);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t at = order_ == std::endian::big ? i : bytes.size() - 1 - i;
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[at]);
  }
  return value;
}

Error ByteCursor::error(std::string_view of) const {
  return Error{Errc::truncated, std::string(of) + ": ends after byte " + std::to_string(offset_)};
}

}  // namespace ctriage
