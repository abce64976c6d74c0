#include "lib/archive/layer_reader.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <optional>
#include <vector>

namespace ctriage::archive {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;

struct FreeArchive {
  void operator()(::archive* archive) const { archive_read_free(archive); }
};

class Reader final : public LayerReader {
 public:
  explicit Reader(ByteSource& in) : in_(in), block_(kBlockBytes), archive_(archive_read_new()) {}

  Status start() {
    ::archive* a = archive_.get();
    if (a == nullptr) return Error{Errc::limit, "layer: out of memory"};
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open(a, this, nullptr, &Reader::more, nullptr) != ARCHIVE_OK) {
      return failure();
    }
    return Done{};
  }

  Result<bool> next(Entry& entry) override {
    const int got = archive_read_next_header(archive_.get(), &current_);
    if (got == ARCHIVE_EOF) return false;
    if (got < ARCHIVE_WARN) return failure();
    // Names are bytes; those that are UTF-8 can be had as that only, in the locale of a daemon.
    const char* name = archive_entry_pathname(current_);
    if (name == nullptr) name = archive_entry_pathname_utf8(current_);
    if (name == nullptr) return Error{Errc::malformed, "layer: an entry without a name"};
    const char* link = archive_entry_hardlink(current_);
    if (link == nullptr) link = archive_entry_hardlink_utf8(current_);
    const char* target = archive_entry_symlink(current_);
    if (target == nullptr) target = archive_entry_symlink_utf8(current_);
    entry.path = name;
    entry.link_target = target == nullptr ? "" : target;
    entry.mode = static_cast<std::uint32_t>(archive_entry_mode(current_));
    entry.uid = static_cast<std::uint32_t>(archive_entry_uid(current_));
    entry.gid = static_cast<std::uint32_t>(archive_entry_gid(current_));
    entry.mtime = {archive_entry_mtime(current_),
                   static_cast<std::uint32_t>(archive_entry_mtime_nsec(current_))};
    entry.hard_link_of = link == nullptr ? "" : link;
    entry.regular = link == nullptr && archive_entry_filetype(current_) == AE_IFREG;
    const auto size = archive_entry_size(current_);
    if (size < 0) return Error{Errc::malformed, "layer: " + entry.path + ": a negative size"};
    entry.size_bytes = static_cast<std::uint64_t>(size);
    return true;
  }

  // libarchive fills holes with zeros itself.
  Result<std::size_t> read(std::span<std::byte> into) override {
    const la_ssize_t got = archive_read_data(archive_.get(), into.data(), into.size());
    if (got < 0) return failure();
    return static_cast<std::size_t>(got);
  }

  Result<Stored> stored() override {
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    do {
      const int got = archive_read_data_block(archive_.get(), &bytes, &size, &offset);
      if (got == ARCHIVE_EOF) return Stored{};
      if (got < ARCHIVE_WARN) return failure();
    } while (size == 0);
    if (offset < 0) return Error{Errc::malformed, "layer: bytes before the beginning of a file"};
    return Stored{static_cast<std::uint64_t>(offset), {static_cast<const std::byte*>(bytes), size}};
  }

 private:
  static la_ssize_t more(::archive* a, void* self, const void** bytes) {
    auto& reader = *static_cast<Reader*>(self);
    auto got = reader.in_.read(reader.block_);
    if (!got) {
      reader.source_error_ = std::move(got).error();
      archive_set_error(a, EIO, "source");
      return -1;
    }
    *bytes = reader.block_.data();
    return static_cast<la_ssize_t>(*got);
  }

  // What the source said, unchanged: the caller tells a stop from damage.
  Error failure() {
    if (source_error_) return *source_error_;
    const char* why = archive_error_string(archive_.get());
    return {Errc::malformed, std::string("layer: ") + (why != nullptr ? why : "not a tar")};
  }

  ByteSource& in_;
  std::vector<std::byte> block_;
  std::optional<Error> source_error_;
  std::unique_ptr<::archive, FreeArchive> archive_;
  ::archive_entry* current_ = nullptr;
};

class EntrySource final : public ByteSource {
 public:
  EntrySource(std::unique_ptr<ByteSource> tar, std::unique_ptr<LayerReader> reader)
      : tar_(std::move(tar)), reader_(std::move(reader)) {}
  Result<std::size_t> read(std::span<std::byte> into) override { return reader_->read(into); }

 private:
  std::unique_ptr<ByteSource> tar_;  // outlives the reader of it
  std::unique_ptr<LayerReader> reader_;
};

}  // namespace

Result<std::unique_ptr<LayerReader>> LayerReader::open(ByteSource& in) {
  auto reader = std::make_unique<Reader>(in);
  if (auto started = reader->start(); !started) return std::move(started).error();
  return std::unique_ptr<LayerReader>(std::move(reader));
}

std::unique_ptr<ByteSource> entry_of(std::unique_ptr<ByteSource> tar, std::unique_ptr<LayerReader> reader) {
  return std::make_unique<EntrySource>(std::move(tar), std::move(reader));
}

}  // namespace ctriage::archive
