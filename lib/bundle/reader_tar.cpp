// A packed bundle: headers are read, contents are skipped. A bundle that still grows is one that is cut.
#include <algorithm>

#include "lib/archive/tar_header.h"
#include "lib/bundle/stream_index.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

// A run of the file. It may have shrunk since it was indexed.
class RangeSource final : public ByteSource {
 public:
  RangeSource(archive::BytesAt& bytes, const std::string& name, const StoredChunk& chunk)
      : bytes_(bytes), name_(name), chunk_(chunk) {}

  Result<std::size_t> read(std::span<std::byte> into) override {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), chunk_.size));
    if (count == 0) return std::size_t{0};
    auto got = bytes_.read_at(chunk_.offset, into.first(count));
    if (!got) return got;
    if (*got == 0) return Error{Errc::truncated, name_ + " ends here"};
    chunk_.offset += *got;
    chunk_.size -= *got;
    return got;
  }

 private:
  archive::BytesAt& bytes_;
  const std::string& name_;
  StoredChunk chunk_;
};

class TarReader final : public IndexedReader {
 public:
  TarReader(std::unique_ptr<archive::BytesAt> bytes, std::string name, Task& task)
      : IndexedReader(task), bytes_(std::move(bytes)), name_(std::move(name)) {}

  Status read_index() {
    const std::uint64_t end = bytes_->size_bytes().value_or(0);
    std::uint64_t offset = 0;
    archive::TarBlock block{};
    while (true) {
      if (auto may = task_.check(); !may) return may;
      auto got = bytes_->read_at(offset, block);
      if (!got) return std::move(got).error();
      if (*got < kTarBlock) {
        cut_ = true;
        if (offset == 0) return Error{Errc::malformed, name_ + ": not a bundle: no whole first member"};
        return Done{};
      }
      auto parsed = archive::parse_tar_header(block);
      if (!parsed) return broken(offset, parsed.error().what);
      if (!*parsed) break;
      const archive::TarHeader& header = **parsed;
      auto canonical = archive::make_tar_header(header.name, header.size_bytes, header.mtime_seconds);
      if (!canonical || *canonical != block) return broken(offset, "not a header of a bundle");
      if (auto added =
              index_.add(header.name, offset + kTarBlock, header.size_bytes, StreamIndex::Order::file);
          !added) {
        return broken(offset, added.error().what);
      }
      offset += kTarBlock;
      const std::uint64_t padding = archive::tar_padding(header.size_bytes);
      // Sizes are hostile: compare with what is left.
      if (offset > end || header.size_bytes > end - offset || padding > end - offset - header.size_bytes) {
        cut_ = true;
        return Done{};
      }
      offset += header.size_bytes + padding;
    }
    if (offset == 0) return broken(0, "not a bundle");
    auto got = bytes_->read_at(offset + kTarBlock, block);
    if (!got) return std::move(got).error();
    cut_ = *got < kTarBlock || block != archive::TarBlock{};
    return Done{};
  }

 protected:
  Result<std::unique_ptr<ByteSource>> open_chunk(const std::string&,
                                                 const StoredChunk& chunk) const override {
    return std::unique_ptr<ByteSource>(std::make_unique<RangeSource>(*bytes_, name_, chunk));
  }

 private:
  [[nodiscard]] Error broken(std::uint64_t offset, std::string_view what) const {
    return Error{Errc::malformed, name_ + " at byte " + std::to_string(offset) + ": " + std::string(what)};
  }

  std::unique_ptr<archive::BytesAt> bytes_;
  std::string name_;
};

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open_tar(UniqueFd file, std::string name, Task& task) {
  auto bytes = archive::bytes_of_file(std::move(file), name);
  if (!bytes) return std::move(bytes).error();
  return open_tar(*std::move(bytes), std::move(name), task);
}

Result<std::unique_ptr<Reader>> Reader::open_tar(std::unique_ptr<archive::BytesAt> bytes, std::string name,
                                                 Task& task) {
  auto reader = std::make_unique<TarReader>(std::move(bytes), std::move(name), task);
  if (auto indexed = reader->read_index(); !indexed) return std::move(indexed).error();
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace ctriage::bundle
