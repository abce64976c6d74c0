#include "lib/bundle/feed.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kWhyBytes = 1'000;  // stands in the manifest, whose room is kept free

}  // namespace

std::string reason_for(Outcome outcome, std::string_view why) {
  if (outcome == Outcome::collected) return {};
  return why.empty() ? "no reason given" : std::string(why.substr(0, kWhyBytes));
}

Status Feed::write(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) {
  if (closed_) throw std::logic_error("write after finish: " + core_->path);
  if (core_->failed) return shared_->pipeline.error_of(*core_);
  if (core_->priority == Priority::data) {
    if (auto may = shared_->task.check(); !may) return std::move(may).error().within(core_->path);
  }
  size_ += bytes.size();
  if (core_->encoding == Encoding::jsonl) {
    if (hash != nullptr) hash->update(bytes);
    add_text(bytes);
  } else {
    add_bytes(bytes, hash);
  }
  return Done{};
}

void Feed::flush() {
  if (core_->encoding != Encoding::jsonl || closed_) return;
  const auto last = std::find(text_.rbegin(), text_.rend(), std::byte{'\n'});
  if (last != text_.rend()) close_text(static_cast<std::size_t>(text_.rend() - last), next_chunk_);
}

Status Feed::finish(Outcome outcome, std::string_view why) {
  if (closed_) throw std::logic_error("finished twice: " + core_->path);
  closed_ = true;
  if (outcome == Outcome::not_collected && size_ > 0) outcome = Outcome::partial;
  Pipeline& pipeline = shared_->pipeline;
  pipeline.with_ledger([&](Ledger& ledger) {
    StreamRecord& record = ledger.streams[core_->id];
    record.closed_at = shared_->now();
    if (core_->failed) return;
    record.outcome = outcome;
    record.why = reason_for(outcome, why);
    pipeline.part().expect_ending(ending_bytes(record.why));
  });
  if (!core_->failed && outcome != Outcome::not_collected) close_last();
  if (!pieces_.empty()) settle();  // a stream that failed
  pipeline.release(std::exchange(buffer_, {}));
  text_ = {};
  return pipeline.settle(*core_);
}

// What is left, or an empty member where there was nothing.
void Feed::close_last() {
  const std::uint32_t index = next_chunk_ == 0 && !looks_numbered(core_->path) ? kWholeStream : next_chunk_;
  const bool jsonl = core_->encoding == Encoding::jsonl;
  const std::size_t rest = jsonl ? text_.size() : used_;
  if (rest == 0 && next_chunk_ > 0) return;
  if (jsonl) return close_text(rest, index);
  if (!buffer_) buffer_ = shared_->pipeline.acquire();
  submit(index, std::move(buffer_), rest);
}

void Feed::submit(std::uint32_t index, Buffer original, std::size_t size) {
  owing_ = owing_ || !pieces_.empty();
  shared_->pipeline.submit(core_, index, std::move(original), size, std::exchange(pieces_, {}));
}

void Feed::promise(std::size_t size, const std::shared_ptr<LateSha256>& hash) {
  hash->promise(size, *this);
  if (!pieces_.empty()) {
    FilePiece& last = pieces_.back();
    if (last.hash == hash && last.offset + last.size == used_) {
      last.size += size;
      return;
    }
  }
  pieces_.push_back({used_, size, hash});
}

// What is in the buffer is hashed here for the file, and by a worker for the stream: who asks has a small
// file, or the end of one.
void Feed::settle() {
  if (std::exchange(owing_, false)) shared_->pipeline.settle_hashes(*core_);
  for (const FilePiece& piece : pieces_) {
    piece.hash->hash().update(std::span<const std::byte>(buffer_.content() + piece.offset, piece.size));
  }
  pieces_.clear();
}

void Feed::add_bytes(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) {
  while (!bytes.empty()) {
    // A full chunk waits for a further byte: only then it is known not to be the last.
    if (buffer_ && used_ == kChunkBytes) submit(next_chunk_++, std::move(buffer_), std::exchange(used_, 0));
    if (!buffer_) buffer_ = shared_->pipeline.acquire();
    const auto piece = bytes.first(std::min(bytes.size(), kChunkBytes - used_));
    std::memcpy(buffer_.content() + used_, piece.data(), piece.size());
    if (hash) promise(piece.size(), hash);
    used_ += piece.size();
    bytes = bytes.subspan(piece.size());
  }
}

void Feed::add_text(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kJsonChunkBytes));
    text_.insert(text_.end(), piece.begin(), piece.end());
    bytes = bytes.subspan(piece.size());
    while (text_.size() > kJsonChunkBytes) {
      const std::size_t size = lines_of_a_chunk();
      if (size == 0) break;
      close_text(size, next_chunk_);
    }
  }
}

// The lines that fit a chunk; a line that does not fit is one of its own. 0: more has to come first.
std::size_t Feed::lines_of_a_chunk() const {
  const auto chunk_end = text_.begin() + static_cast<std::ptrdiff_t>(kJsonChunkBytes);
  const auto last = std::find(std::make_reverse_iterator(chunk_end), text_.rend(), std::byte{'\n'});
  if (last != text_.rend()) return static_cast<std::size_t>(text_.rend() - last);
  const auto first = std::find(chunk_end, text_.end(), std::byte{'\n'});
  const auto line = static_cast<std::size_t>(first - text_.begin()) + 1;
  if (first != text_.end() && line <= kChunkBytes) return line < text_.size() ? line : 0;
  return text_.size() > kChunkBytes ? kChunkBytes : 0;
}

void Feed::close_text(std::size_t size, std::uint32_t index) {
  Buffer buffer = shared_->pipeline.acquire();
  if (size > 0) std::memcpy(buffer.content(), text_.data(), size);
  text_.erase(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(size));
  ++next_chunk_;
  submit(index, std::move(buffer), size);
}

}  // namespace ctriage::bundle
