#include "lib/source/checkpoint/ghost.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "lib/core/cursor.h"
#include "lib/criu/criu.h"
#include "lib/model/file_mode.h"
#include "lib/source/checkpoint/tree.h"

namespace ctriage::source {
namespace {

using archive::BytesAt;

constexpr std::size_t kHeadBytes = 4096;
constexpr std::size_t kMaxChunks = 65'536;  // of one file: CRIU makes one for each run of data
constexpr std::size_t kMaxChunkHeadBytes = 64;

struct Chunk {
  std::uint64_t begin = 0, end = 0;  // in the file
  std::uint64_t stored = 0;          // offset in the image
};

// u32 length, ghost_chunk_entry, its bytes; until the image ends. lib/criu/FORMAT.md. After an error those
// that came before stand in `chunks`.
Status read_chunks(BytesAt& image, std::uint64_t at, std::uint64_t image_bytes, std::uint64_t file_bytes,
                   std::vector<Chunk>& chunks, const Task& task) {
  while (at < image_bytes) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    std::array<std::byte, sizeof(std::uint32_t) + kMaxChunkHeadBytes> head{};
    auto got = image.read_at(at, head);
    if (!got) return std::move(got).error();
    ByteCursor in(std::span<const std::byte>(head).first(*got));
    const std::uint32_t length = in.u32();
    if (in.ok() && length > kMaxChunkHeadBytes)
      return Error{Errc::malformed, "a chunk's head of " + std::to_string(length) + " bytes"};
    const auto message = in.text(length);
    if (!in.ok()) return Error{Errc::truncated, "ends inside the head of a chunk"};
    const auto chunk = criu::parse_ghost_chunk(message);
    if (!chunk) return chunk.error();
    at += sizeof(std::uint32_t) + length;
    if (chunk->size_bytes > image_bytes - at) return Error{Errc::truncated, "ends inside a chunk"};
    if (chunk->offset_bytes > file_bytes || chunk->size_bytes > file_bytes - chunk->offset_bytes)
      return Error{Errc::malformed, "a chunk behind the end of the file"};
    if (!chunks.empty() && chunk->offset_bytes < chunks.back().end)
      return Error{Errc::malformed, "chunks that are not in order"};
    if (chunks.size() >= kMaxChunks)
      return Error{Errc::limit, "over " + std::to_string(kMaxChunks) + " chunks"};
    chunks.push_back({chunk->offset_bytes, chunk->offset_bytes + chunk->size_bytes, at});
    at += chunk->size_bytes;
  }
  return Done{};
}

class ChunkedBytes final : public BytesAt {
 public:
  // `damage`: why it is not known what comes after the last of them.
  ChunkedBytes(std::unique_ptr<BytesAt> image, std::vector<Chunk> chunks, std::uint64_t size,
               std::optional<Error> damage)
      : image_(std::move(image)), chunks_(std::move(chunks)), size_(size), damage_(std::move(damage)) {}
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_; }
  // One run at a time: who reads in order asks again.
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset >= size_ || into.empty()) return std::size_t{0};
    const auto next = std::ranges::upper_bound(chunks_, offset, {}, &Chunk::end);
    if (next == chunks_.end() && damage_) return *damage_;
    const bool inside = next != chunks_.end() && next->begin <= offset;
    const std::uint64_t until = next == chunks_.end() ? size_ : inside ? next->end : next->begin;
    into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), until - offset)));
    if (inside) return image_->read_at(next->stored + (offset - next->begin), into);
    std::ranges::fill(into, std::byte{0});
    return into.size();
  }

 private:
  std::unique_ptr<BytesAt> image_;
  std::vector<Chunk> chunks_;
  std::uint64_t size_;
  std::optional<Error> damage_;
};

}  // namespace

Result<Ghost> read_ghost(CheckpointStore& store, const std::string& image) {
  auto bytes = store.bytes_of(image);
  if (!bytes) return std::move(bytes).error();
  std::string head(kHeadBytes, '\0');
  auto got = (*bytes)->read_at(0, std::as_writable_bytes(std::span(head)));
  if (!got) return std::move(got).error();
  head.resize(*got);
  auto reader = criu::ImageReader::open(head, criu::Kind::ghost_file);
  if (!reader) return std::move(reader).error();
  std::string_view message;
  auto more = reader->next(message);
  if (!more) return std::move(more).error();
  if (!*more) return Error{Errc::truncated, "an image without an entry"};
  auto entry = criu::parse_ghost(message);
  if (!entry) return std::move(entry).error();
  if (entry->chunks && !entry->size_bytes) return Error{Errc::malformed, "chunks of a file without a size"};
  Ghost ghost;
  ghost.offset = head.size() - reader->left();
  ghost.chunks = entry->chunks;
  FileState& file = ghost.file;
  file.type = type_of_mode(entry->mode);
  file.mode = entry->mode & 07777U;
  file.uid = entry->uid;
  file.gid = entry->gid;
  file.mtime = entry->mtime.value_or(Timestamp{});
  if (!entry->link_target.empty()) file.link_target = Bytes(std::move(entry->link_target));
  if (file.type == FileType::regular) {
    const StoredFile* stored = store.find(image);
    const std::uint64_t rest = stored->size_bytes > ghost.offset ? stored->size_bytes - ghost.offset : 0;
    file.size_bytes = entry->chunks ? entry->size_bytes.value_or(0) : rest;
    file.allocated_bytes = rest;
  }
  return ghost;
}

Result<std::unique_ptr<ByteSource>> open_ghost(CheckpointStore& store, const std::string& image,
                                               const Ghost& ghost, const Task& task) {
  auto bytes = store.bytes_of(image);
  if (!bytes) return std::move(bytes).error();
  const std::uint64_t size = ghost.file.size_bytes;
  if (!ghost.chunks) return archive::in_order(*std::move(bytes), ghost.offset, size, task);
  std::vector<Chunk> chunks;
  auto read = read_chunks(**bytes, ghost.offset, store.find(image)->size_bytes, size, chunks, task);
  std::optional<Error> damage;
  if (!read) damage = std::move(read).error().within(image);
  return archive::in_order(
      std::make_unique<ChunkedBytes>(*std::move(bytes), std::move(chunks), size, std::move(damage)), 0, size,
      task);
}

}  // namespace ctriage::source
