#include "lib/memory/spool.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/core/text.h"

namespace ctriage::memory {
namespace {

constexpr std::size_t kMaxKeptRanges = 65'536;  // of some 300 bytes
constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

Status Spool::write(std::span<const std::byte> bytes) {
  if (still_ && still_->is_over()) {
    if (auto done = release_early("its time was over: what follows was read while it went on"); !done)
      return done;
  } else if (still_ && bytes.size() > room_.size() - kept_bytes_) {
    auto done = release_early(human_size(room_.size()) +
                              " is all that is kept in memory: what follows was read while it went on");
    if (!done) return done;
  }
  if (!still_) return core_.write(bytes);
  if (!bytes.empty()) std::memcpy(room_.data() + kept_bytes_, bytes.data(), bytes.size());
  kept_bytes_ += bytes.size();
  return Done{};
}

Status Spool::add(PageRange&& range) {
  if (still_ && kept_ranges_.size() == kMaxKeptRanges) {
    auto done = release_early("more than " + with_commas(kMaxKeptRanges) + " ranges");
    if (!done) return done;
  }
  if (!still_) return ranges_(std::move(range));
  kept_ranges_.push_back(std::move(range));
  return Done{};
}

Status Spool::release_early(std::string why) {
  auto done = release();
  if (!end_.not_held) end_.not_held = Error{Errc::limit, std::move(why)};
  return done;
}

Status Spool::release() {
  if (!still_) return Done{};
  end_ = still_->end();
  still_.reset();
  const std::vector<std::byte> room = std::exchange(room_, {});
  for (std::size_t at = 0; at < kept_bytes_; at += kPieceBytes) {
    const auto piece = std::span(room).subspan(at, std::min(kPieceBytes, kept_bytes_ - at));
    if (auto written = core_.write(piece); !written) return written;
  }
  for (PageRange& range : std::exchange(kept_ranges_, {})) {
    range.frozen = !end_.not_held;
    if (auto told = ranges_(std::move(range)); !told) return told;
  }
  return Done{};
}

}  // namespace ctriage::memory
