#include "lib/core/stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lib/core/sys.h"

namespace ctriage {

Status ByteSink::write_hashed(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) {
  hash->update(bytes);
  return write(bytes);
}

Result<std::size_t> FdSource::read(std::span<std::byte> into) {
  for (;;) {
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error().within(name_);
    auto size = sys::read(fd_.get(), into, name_);
    if (size) task_.passed(*size);
    if (size || size.error().number != EINTR) return size;
  }
}

Result<std::size_t> MemorySource::read(std::span<std::byte> into) {
  const auto head = rest_.first(std::min(into.size(), rest_.size()));
  if (!head.empty()) std::memcpy(into.data(), head.data(), head.size());
  rest_ = rest_.subspan(head.size());
  return head.size();
}

Result<bool> LineReader::next(std::string_view& line) {
  constexpr std::size_t kBlockBytes = 64 << 10;
  line = {};
  bool too_long = false;
  std::size_t searched = begin_;  // no delimiter between begin_ and here
  for (;;) {
    const std::size_t end = buffer_.find(delimiter_, searched);
    const bool found = end != std::string::npos;
    const std::size_t size = (found ? end : buffer_.size()) - begin_;
    if (!too_long) line_offset_ = buffer_offset_ + begin_;
    if (size > longest_) too_long = true;
    if (found || at_end_) {
      if (!found && size == 0 && !too_long) return false;
      if (!too_long) line = std::string_view(buffer_).substr(begin_, size);
      begin_ += size + (found ? 1 : 0);
      if (!too_long) return true;
      return Error{Errc::limit, "line at offset " + std::to_string(line_offset_) + " is longer than " +
                                    std::to_string(longest_) + " bytes"};
    }
    // More is needed. What was given already goes; of a line that is too long nothing has to stay.
    const std::size_t drop = too_long ? buffer_.size() : begin_;
    buffer_.erase(0, drop);
    buffer_offset_ += drop;
    begin_ = 0;
    searched = buffer_.size();
    buffer_.resize(searched + kBlockBytes);
    auto got = in_.read(std::as_writable_bytes(std::span(buffer_).subspan(searched)));
    buffer_.resize(searched + (got ? *got : 0));
    if (!got) return std::move(got).error();
    if (*got == 0) at_end_ = true;
  }
}

Result<std::string> read_all(ByteSource& in, std::size_t most) {
  std::string all;
  std::size_t size = 0;
  for (;;) {
    // One byte over `most` tells a source that ends there from one that goes on.
    if (all.size() == size) all.resize(std::min(std::max<std::size_t>(size * 2, 16 << 10), most + 1));
    auto got = in.read(std::as_writable_bytes(std::span(all).subspan(size)));
    if (!got) return std::move(got).error();
    size += *got;
    if (size > most) return Error{Errc::limit, "more than " + std::to_string(most) + " bytes"};
    if (*got == 0) break;
  }
  all.resize(size);
  return all;
}

Result<Digest> hash_all(ByteSource& in) {
  constexpr std::size_t kBlock = 128 << 10;
  std::vector<std::byte> block(kBlock);
  Sha256 hash;
  for (;;) {
    const auto got = in.read(block);
    if (!got) return got.error();
    if (*got == 0) return hash.digest();
    hash.update(std::span(block).first(*got));
  }
}

}  // namespace ctriage
