#include "lib/compare/page_digest.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/core/hash.h"

namespace ctriage::compare {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

std::uint64_t digest_of(std::string_view salt, std::span<const std::byte> page) {
  Sha256 hash;
  hash.update(salt);
  hash.update(page);
  const Digest digest = hash.digest();
  std::uint64_t first = 0;
  std::memcpy(&first, digest.data(), sizeof first);
  return first;
}

}  // namespace

PageDigester::PageDigester(const PagesRequest& request, Projector& projector, std::vector<Bounds> bounds,
                           const Emit<PageRun>& emit, Task& task)
    : request_(request),
      projector_(projector),
      bounds_(std::move(bounds)),
      emit_(emit),
      task_(task),
      buffer_(kBufferBytes) {}

std::uint64_t PageDigester::mapping_start(std::uint64_t address) const {
  const auto after =
      std::ranges::upper_bound(bounds_, std::pair(source_pid_, address), {},
                               [](const Bounds& one) { return std::pair(one.pid, one.start); });
  if (after == bounds_.begin()) return 0;
  const Bounds& before = *std::prev(after);
  return before.pid == source_pid_ && address < before.end ? before.start : 0;
}

Status PageDigester::enter(MemoryArea&& area) {
  if (auto done = end_page(); !done) return done;
  if (auto done = flush(); !done) return done;
  const auto container = std::ranges::find(request_.containers, area.container);
  wanted_ = container != request_.containers.end() && area.pid > 0 && area.address &&
            (area.kind == AreaKind::memory || area.kind == AreaKind::shared);
  if (!wanted_) return Done{};
  const auto inner = projector_.inner_pid(area.container, area.pid, task_);
  if (!inner) return inner.error();
  wanted_ = request_.pid == 0 || *inner == request_.pid;
  source_pid_ = area.pid;
  moved_ = *area.address - area.start;
  run_.area = {static_cast<std::uint32_t>(container - request_.containers.begin()), *inner, *area.address,
               std::move(area.protection), std::move(area.path.raw)};
  run_.area.start = *area.address;
  return Done{};
}

Status PageDigester::filled(std::uint64_t address, std::size_t count) {
  task_.passed(count);
  if (!wanted_) return Done{};
  address += moved_;
  std::span<const std::byte> bytes = std::span(buffer_).first(count);
  while (!bytes.empty()) {
    if (in_page_ > 0 && address != page_address_ + in_page_) {
      if (auto done = end_page(); !done) return done;
    }
    if (in_page_ == 0) page_address_ = address;
    const std::size_t room = kComparedPageBytes - page_address_ % kComparedPageBytes - in_page_;
    const auto part = bytes.first(std::min(room, bytes.size()));
    std::memcpy(page_.data() + in_page_, part.data(), part.size());
    in_page_ += part.size();
    address += part.size();
    bytes = bytes.subspan(part.size());
    if (part.size() == room) {
      if (auto done = end_page(); !done) return done;
    }
  }
  return Done{};
}

Status PageDigester::end_page() {
  if (in_page_ == 0) return Done{};
  const std::uint64_t digest = digest_of(request_.salt, std::span(page_).first(in_page_));
  in_page_ = 0;
  const std::uint64_t mapping = mapping_start(page_address_);
  const std::uint64_t start = mapping != 0 ? mapping : run_.area.start;
  const bool continues = !run_.digests.empty() && run_.end() == page_address_ && run_.area.start == start &&
                         run_.digests.size() < kMaxRunPages;
  if (!continues) {
    if (auto done = flush(); !done) return done;
    run_.address = page_address_;
    run_.area.start = start;
  }
  run_.digests.push_back(digest);
  return Done{};
}

Status PageDigester::flush() {
  if (run_.digests.empty()) return Done{};
  PageRun run = run_;
  run_.digests.clear();
  return emit_(std::move(run));
}

Status PageDigester::finish() {
  if (auto done = end_page(); !done) return done;
  return flush();
}

}  // namespace ctriage::compare
