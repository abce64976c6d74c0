#pragma once
// A source whose first bytes are looked at before it is decided who reads it.
#include <algorithm>
#include <vector>

#include "lib/core/stream.h"

namespace ctriage::bundle {

class PeekSource final : public ByteSource {
 public:
  explicit PeekSource(ByteSource& in) : in_(in) {}
  // That many of the first bytes, less only where there are no more. Before any read, once.
  Result<std::span<const std::byte>> peek(std::size_t count) {
    head_.resize(count);
    std::size_t size = 0;
    while (size < count) {
      auto got = in_.read(std::span(head_).subspan(size));
      if (!got) return std::move(got).error();
      if (*got == 0) break;
      size += *got;
    }
    head_.resize(size);
    return std::span<const std::byte>(head_);
  }
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (at_ == head_.size()) return in_.read(into);
    const std::size_t count = std::min(into.size(), head_.size() - at_);
    std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(at_), count, into.begin());
    at_ += count;
    return count;
  }

 private:
  ByteSource& in_;
  std::vector<std::byte> head_;
  std::size_t at_ = 0;
};

}  // namespace ctriage::bundle
