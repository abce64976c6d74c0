// gzip, zstd, xz, bzip2 and lz4 through the filters of libarchive. The window of zstd is at most 128 MiB, its
// own default; that of xz the 1 GiB that libarchive allows.
#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lib/archive/bytes_at.h"

namespace ctriage::archive {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
// Going back unpacks from the beginning: of all that the largest archive may become, this many times.
constexpr std::uint64_t kMaxPasses = 4;

struct FreeArchive {
  void operator()(::archive* archive) const { archive_read_free(archive); }
};

class Decompressed final : public BytesAt {
 public:
  Decompressed(BytesAt& in, Compression compression, const Task& task, std::uint64_t most)
      : in_(in), compression_(compression), task_(task), most_(most), block_(kBlockBytes) {}

  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset < begin_) {
      if (auto begun = start(); !begun) return std::move(begun).error();
    }
    std::size_t done = 0;
    while (done < into.size()) {
      if (offset - begin_ < part_.size()) {
        const auto from = part_.subspan(static_cast<std::size_t>(offset - begin_));
        const std::size_t count = std::min(from.size(), into.size() - done);
        std::memcpy(into.data() + done, from.data(), count);
        done += count;
        offset += count;
        continue;
      }
      auto more = advance();
      if (!more) return std::move(more).error();
      if (!*more) break;
    }
    return done;
  }

  // From the first byte on.
  Status start() {
    archive_.reset(archive_read_new());
    ::archive* a = archive_.get();
    if (a == nullptr) return Error{Errc::limit, std::string(to_text(compression_)) + ": out of memory"};
    in_offset_ = 0;
    begin_ = 0;
    part_ = {};
    source_error_.reset();
    ::archive_entry* entry = nullptr;
    if (filter(a) != ARCHIVE_OK || archive_read_support_format_raw(a) != ARCHIVE_OK ||
        archive_read_open(a, this, nullptr, &Decompressed::more, nullptr) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK) {
      return failure();
    }
    return Done{};
  }

 private:
  int filter(::archive* a) const {
    switch (compression_) {
      case Compression::gzip:
        return archive_read_support_filter_gzip(a);
      case Compression::zstd:
        return archive_read_support_filter_zstd(a);
      case Compression::xz:
        return archive_read_support_filter_xz(a);
      case Compression::bzip2:
        return archive_read_support_filter_bzip2(a);
      case Compression::lz4:
        return archive_read_support_filter_lz4(a);
      case Compression::none:
        break;
    }
    return ARCHIVE_FATAL;
  }

  // The next run of bytes; false at the end.
  Result<bool> advance() {
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int got = archive_read_data_block(archive_.get(), &bytes, &size, &offset);
    if (got == ARCHIVE_EOF) return false;
    if (got != ARCHIVE_OK) return failure();
    begin_ += part_.size();
    part_ = {static_cast<const std::byte*>(bytes), size};
    spent_bytes_ += size;
    if (begin_ + size > most_) {
      return Error{Errc::limit, std::string(to_text(compression_)) + ": unpacks to over " +
                                    std::to_string(most_) + " bytes"};
    }
    if (spent_bytes_ / kMaxPasses > most_) {
      return Error{Errc::limit, std::string(to_text(compression_)) + ": over " + std::to_string(kMaxPasses) +
                                    " times " + std::to_string(most_) + " bytes were unpacked"};
    }
    task_.passed(size);
    return true;
  }

  static la_ssize_t more(::archive* a, void* self, const void** bytes) {
    auto& reader = *static_cast<Decompressed*>(self);
    auto got = reader.in_.read_at(reader.in_offset_, reader.block_);
    if (!got) {
      reader.source_error_ = std::move(got).error();
      archive_set_error(a, EIO, "source");
      return -1;
    }
    reader.in_offset_ += *got;
    *bytes = reader.block_.data();
    return static_cast<la_ssize_t>(*got);
  }

  Error failure() {
    if (source_error_) return *source_error_;
    const char* why = archive_error_string(archive_.get());
    return {Errc::malformed, std::string(to_text(compression_)) + " at byte " +
                                 std::to_string(begin_ + part_.size()) + ": " +
                                 (why != nullptr ? why : "damaged")};
  }

  BytesAt& in_;
  Compression compression_;
  const Task& task_;
  std::uint64_t most_;
  std::uint64_t spent_bytes_ = 0;  // unpacked in all, however often it was begun anew
  std::vector<std::byte> block_;
  std::uint64_t in_offset_ = 0;
  std::optional<Error> source_error_;
  std::unique_ptr<::archive, FreeArchive> archive_;
  std::uint64_t begin_ = 0;            // of part_, in what was unpacked
  std::span<const std::byte> part_{};  // libarchive's, until it is asked for the next
};

}  // namespace

Result<std::unique_ptr<BytesAt>> decompress(BytesAt& compressed, Compression compression, const Task& task,
                                            std::uint64_t most) {
  auto made = std::make_unique<Decompressed>(compressed, compression, task, most);
  if (auto begun = made->start(); !begun) return std::move(begun).error();
  return std::unique_ptr<BytesAt>(std::move(made));
}

}  // namespace ctriage::archive
