#include "lib/bundle/chunk_source.h"

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kPieceBytes = 128 << 10;

class ChunkSource final : public ByteSource {
 public:
  ChunkSource(const ChunkOpener& opener, std::string stream, std::vector<StoredChunk> chunks,
              const Task& task)
      : opener_(opener), stream_(std::move(stream)), chunks_(std::move(chunks)), task_(task) {}

  Status start() {
    if (!stream_.ends_with(kZstdSuffix)) return Done{};
    auto decoder = FrameDecoder::create();
    if (!decoder) return std::move(decoder).error();
    decoder_.emplace(*std::move(decoder));
    piece_.resize(kPieceBytes);
    return Done{};
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    if (into.empty()) return std::size_t{0};
    if (failed_) return *failed_;
    auto got = read_more(into);
    if (got) return got;
    failed_ = std::move(got).error().within(name());
    return *failed_;
  }

 private:
  // Of the chunk at hand.
  [[nodiscard]] std::string name() const {
    return next_ == 0 ? stream_ : join_member(stream_, chunks_[next_ - 1].index);
  }

  Result<std::size_t> read_more(std::span<std::byte> into) {
    while (true) {
      if (auto may = task_.check(); !may) return std::move(may).error();
      if (!chunk_) {
        if (next_ == chunks_.size()) return std::size_t{0};
        if (auto opened = open_next(); !opened) return std::move(opened).error();
      }
      auto got = decoder_ ? decode(into) : chunk_->read(into);
      if (!got || *got > 0) return got;
      chunk_.reset();
    }
  }

  Status open_next() {
    const StoredChunk& chunk = chunks_[next_];
    const auto expected = static_cast<std::uint32_t>(next_);
    if (chunk.index != expected && !(chunk.index == kWholeStream && chunks_.size() == 1)) {
      return Error{Errc::mismatch, "the chunk " + join_member(stream_, expected) + " is missing"};
    }
    auto opened = opener_.open_chunk(stream_, chunk);
    if (!opened) return std::move(opened).error();
    ++next_;
    chunk_ = *std::move(opened);
    rest_ = {};
    if (decoder_) decoder_->begin();
    return Done{};
  }

  Result<std::size_t> decode(std::span<std::byte> into) {
    while (true) {
      auto step = decoder_->decode(rest_, into);
      if (!step) return std::move(step).error();
      rest_ = rest_.subspan(step->eaten);
      if (step->made > 0) return step->made;
      if (!rest_.empty()) continue;  // a step eats or makes
      auto got = chunk_->read(piece_);
      if (!got) return got;
      rest_ = std::span(piece_).first(*got);
      if (*got > 0) continue;
      if (auto whole = decoder_->finish(); !whole) return std::move(whole).error();
      return std::size_t{0};
    }
  }

  const ChunkOpener& opener_;
  const std::string stream_;
  const std::vector<StoredChunk> chunks_;
  const Task& task_;
  std::size_t next_ = 0;
  std::unique_ptr<ByteSource> chunk_;
  std::optional<FrameDecoder> decoder_;
  std::vector<std::byte> piece_;
  std::span<const std::byte> rest_;
  std::optional<Error> failed_;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> join_chunks(const ChunkOpener& opener, std::string stream,
                                                std::vector<StoredChunk> chunks, const Task& task) {
  auto source = std::make_unique<ChunkSource>(opener, std::move(stream), std::move(chunks), task);
  if (auto started = source->start(); !started) return std::move(started).error();
  return std::unique_ptr<ByteSource>(std::move(source));
}

}  // namespace ctriage::bundle
