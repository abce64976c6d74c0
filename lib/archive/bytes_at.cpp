#include "lib/archive/bytes_at.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "lib/core/root.h"
#include "lib/core/sys.h"

namespace ctriage::archive {
namespace {

class FileBytes final : public BytesAt {
 public:
  FileBytes(UniqueFd file, std::string name, std::uint64_t size)
      : file_(std::move(file)), name_(std::move(name)), size_(size) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset >= size_) return std::size_t{0};
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset));
    auto got = sys::pread_full(file_.get(), into.first(count), offset, name_);
    if (got && *got < count) return Error{Errc::truncated, name_ + ": became shorter"};
    return got;
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_; }

 private:
  UniqueFd file_;
  std::string name_;
  std::uint64_t size_;
};

class PartBytes final : public BytesAt {
 public:
  PartBytes(BytesAt& whole, std::uint64_t offset, std::uint64_t size)
      : whole_(whole), offset_(offset), size_(size) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset >= size_) return std::size_t{0};
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset));
    return whole_.read_at(offset_ + offset, into.first(count));
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override {
    if (!whole_.size_bytes()) return std::nullopt;  // going back is as dear as there
    return size_;
  }

 private:
  BytesAt& whole_;
  std::uint64_t offset_;
  std::uint64_t size_;
};

class InOrder final : public ByteSource {
 public:
  InOrder(BytesAt& bytes, const Task& task) : bytes_(bytes), left_(UINT64_MAX), task_(task) {}
  InOrder(std::unique_ptr<BytesAt> own, std::uint64_t offset, std::uint64_t size, const Task& task)
      : own_(std::move(own)), bytes_(*own_), offset_(offset), left_(size), task_(task) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, into.size()));
    auto got = bytes_.read_at(offset_, into.first(count));
    if (!got) return got;
    offset_ += *got;
    left_ -= *got;
    return got;
  }

 private:
  std::unique_ptr<BytesAt> own_;  // null: the caller's
  BytesAt& bytes_;
  std::uint64_t offset_ = 0;
  std::uint64_t left_;
  const Task& task_;
};

}  // namespace

Result<std::unique_ptr<BytesAt>> bytes_of_file(UniqueFd file, std::string name) {
  auto info = file_info(file.get(), name);
  if (!info) return std::move(info).error();
  return std::unique_ptr<BytesAt>(
      std::make_unique<FileBytes>(std::move(file), std::move(name), info->size_bytes));
}

std::unique_ptr<BytesAt> part_of(BytesAt& whole, std::uint64_t offset, std::uint64_t size) {
  return std::make_unique<PartBytes>(whole, offset, size);
}

std::unique_ptr<ByteSource> in_order(BytesAt& whole, const Task& task) {
  return std::make_unique<InOrder>(whole, task);
}

std::unique_ptr<ByteSource> in_order(std::unique_ptr<BytesAt> bytes, std::uint64_t offset, std::uint64_t size,
                                     const Task& task) {
  return std::make_unique<InOrder>(std::move(bytes), offset, size, task);
}

std::string_view to_text(Compression compression) {
  constexpr std::array<std::string_view, 6> kNames{"plain", "gzip", "zstd", "xz", "bzip2", "lz4"};
  return kNames[static_cast<std::size_t>(compression)];
}

// gzip: RFC 1952 2.3.1; zstd: RFC 8878 3.1.1, or a skippable frame first; xz: its file format 2.1.1.1; bzip2:
// "BZh" and the block size; lz4: its frame format, "General Structure".
Compression find_compression(std::span<const std::byte> first) {
  const std::string_view head(reinterpret_cast<const char*>(first.data()), first.size());
  using namespace std::string_view_literals;
  if (head.starts_with("\x1f\x8b\x08"sv)) return Compression::gzip;
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
  if (head.size() >= 4 && (head[0] & '\xf0') == '\x50' && head.substr(1, 3) == "\x2a\x4d\x18"sv)
    return Compression::zstd;
  if (head.starts_with("\xfd\x37zXZ\0"sv)) return Compression::xz;
  if (head.size() >= 4 && head.starts_with("BZh"sv) && head[3] >= '1' && head[3] <= '9')
    return Compression::bzip2;
  if (head.starts_with("\x04\x22\x4d\x18"sv)) return Compression::lz4;
  return Compression::none;
}

}  // namespace ctriage::archive
