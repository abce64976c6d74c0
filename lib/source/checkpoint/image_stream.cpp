#include "lib/source/checkpoint/image_stream.h"

#include <algorithm>
#include <array>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::source {

Result<ImageStream> ImageStream::open(CheckpointStore& store, const std::string& name, criu::Kind kind) {
  constexpr std::size_t kMagics = 8;
  auto bytes = store.bytes_of(name);
  if (!bytes) return std::move(bytes).error();
  const std::uint64_t size = store.find(name)->size_bytes;
  std::string head(kMagics, '\0');
  auto got = (*bytes)->read_at(0, std::as_writable_bytes(std::span(head)));
  if (!got) return std::move(got).error();
  head.resize(*got);
  auto magic = criu::ImageReader::open(head, kind);
  if (!magic) return std::move(magic).error();
  return ImageStream(*std::move(bytes), size, head.size() - magic->left());
}

Result<bool> ImageStream::next(std::string& message) {
  if (left() == 0) return false;
  const auto cut = [this] {
    return Error{Errc::truncated, "entry " + std::to_string(entries_) + ": the image ends inside it"};
  };
  std::array<std::byte, 4> length{};
  auto got = bytes_->read_at(at_, length);
  if (!got) return std::move(got).error();
  ByteCursor in(std::span<const std::byte>(length).first(*got));
  const std::uint32_t size = in.u32();
  if (!in.ok() || left() < length.size() || size > left() - length.size()) return cut();
  if (size > kMaxCriuEntryBytes)
    return Error{Errc::limit, "an entry over " + std::to_string(kMaxCriuEntryBytes) + " bytes"};
  if (++entries_ > kMaxCriuEntries)
    return Error{Errc::limit, "over " + std::to_string(kMaxCriuEntries) + " entries"};
  message.assign(size, '\0');
  got = bytes_->read_at(at_ + length.size(), std::as_writable_bytes(std::span(message)));
  if (!got) return std::move(got).error();
  if (*got < size) return cut();
  at_ += length.size() + size;
  return true;
}

Status ImageStream::skip(std::uint64_t size) {
  if (size > left()) {
    return Error{Errc::truncated, "entry " + std::to_string(entries_) + ": its " + with_commas(size) +
                                      " bytes are not all there"};
  }
  at_ += size;
  return Done{};
}

}  // namespace ctriage::source
