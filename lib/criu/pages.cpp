// pagemap.proto, as criu/pagemap.c reads it.
#include <algorithm>

#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

struct RawEntry {
  std::uint64_t address = 0;
  std::uint64_t pages = 0;
  std::uint64_t flags = 0;
  bool compressed = false;
};

// Flags of pagemap_entry: criu/include/pagemap.h.
constexpr std::uint64_t kParent = 1U << 0;
constexpr std::uint64_t kLazy = 1U << 1;
constexpr std::uint64_t kPresent = 1U << 2;

// Since CRIU 4.2 the count is in field 5 and field 2 is zero; before there was no field 5. Before 3.5 there
// were no flags: what is not in the parent is present. Fields 6 to 8 are of compressed pages (unreleased).
Result<RawEntry> parse_entry(std::string_view message) {
  RawEntry entry;
  std::optional<std::uint64_t> pages;
  std::uint64_t old_pages = 0;
  std::optional<std::uint64_t> flags;
  bool in_parent = false;
  Message in(message);
  while (in.next()) {
    in.take(1, entry.address);
    in.take(2, old_pages);
    in.take(3, in_parent);
    in.take(4, flags);
    in.take(5, pages);
    if (in.field() >= 6 && in.field() <= 8) entry.compressed = true;
  }
  entry.pages = pages.value_or(old_pages);
  entry.flags = flags.value_or(in_parent ? 0 : kPresent) | (in_parent ? kParent : 0);
  return whole(in, entry, "pagemap_entry");
}

}  // namespace

const PageRun* PageMap::find(std::uint64_t address) const {
  const auto after = std::upper_bound(runs.begin(), runs.end(), address,
                                      [](std::uint64_t at, const PageRun& run) { return at < run.address; });
  if (after == runs.begin()) return nullptr;
  const PageRun& run = *(after - 1);
  return address - run.address < run.pages * page_bytes ? &run : nullptr;
}

std::uint64_t PageMap::next_after(std::uint64_t address) const {
  const auto after = std::upper_bound(runs.begin(), runs.end(), address,
                                      [](std::uint64_t at, const PageRun& run) { return at < run.address; });
  return after == runs.end() ? UINT64_MAX : after->address;
}

std::uint64_t PageMap::bytes_in(std::uint64_t start, std::uint64_t end) const {
  auto at = std::upper_bound(runs.begin(), runs.end(), start,
                             [](std::uint64_t address, const PageRun& run) { return address < run.address; });
  if (at != runs.begin()) --at;
  std::uint64_t sum = 0;
  for (; at != runs.end() && at->address < end; ++at) {
    const std::uint64_t first = std::max(start, at->address);
    const std::uint64_t last = std::min(end, at->address + at->pages * page_bytes);
    if (at->state != PageRun::State::lazy && last > first) sum += last - first;
  }
  return sum;
}

Result<PageMap> parse_pagemap(std::string_view file, std::uint32_t page_bytes) {
  auto image = ImageReader::open(file, Kind::pagemap);
  if (!image) return std::move(image).error();
  std::string_view message;
  auto more = image->next(message);
  if (!more) return std::move(more).error();
  if (!*more) return Error{Errc::truncated, "pagemap image: without a head"};
  PageMap map;
  map.page_bytes = page_bytes;
  Message head(message);
  while (head.next()) {
    if (head.field() == 1) map.pages_id = head.number32();
  }
  if (!head.ok()) return damaged("pagemap_head");

  std::uint64_t end = 0;  // one past the run before
  for (;;) {
    more = image->next(message);
    if (!more) return std::move(more).error();
    if (!*more) break;
    const auto entry = parse_entry(message);
    if (!entry) return entry.error();
    if (entry->compressed) {
      map.compressed = true;
      map.runs.clear();
      return map;
    }
    if (entry->pages == 0) continue;  // the sizes say whether that was so
    const std::uint64_t room = UINT64_MAX - entry->address;
    if (entry->pages > room / page_bytes || map.present_pages > (UINT64_MAX / page_bytes) - entry->pages)
      return Error{Errc::malformed, "pagemap_entry: more pages than there are addresses"};
    if (entry->address < end) return Error{Errc::malformed, "pagemap_entry: over the one before"};
    end = entry->address + entry->pages * page_bytes;
    PageRun run{entry->address, entry->pages, 0, PageRun::State::lazy};
    if ((entry->flags & kPresent) != 0) {
      run.state = PageRun::State::present;
      run.offset_bytes = map.present_bytes();
      map.present_pages += entry->pages;
    } else if ((entry->flags & kParent) != 0) {
      run.state = PageRun::State::parent;
      map.parent_pages += entry->pages;
    } else if ((entry->flags & kLazy) != 0) {
      map.lazy_pages += entry->pages;
    } else {
      return Error{Errc::malformed, "pagemap_entry: neither present, nor in the parent, nor lazy"};
    }
    map.runs.push_back(run);
  }
  return map;
}

}  // namespace ctriage::criu
