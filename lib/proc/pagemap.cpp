// Documentation/admin-guide/mm/pagemap.rst. Neither way faults a page in or makes a page table.
#include "lib/proc/pagemap.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/core/cursor.h"
#include "lib/core/sys.h"
#include "lib/core/sys_memory.h"

namespace ctriage::proc {
namespace {

constexpr std::uint64_t kMaxStretchBytes = std::uint64_t{64} << 30;  // 81 ms of table, 7 ms of scan
constexpr std::size_t kRegions = 512;                                // of one call

// One entry of the table, 8 bytes a page.
constexpr std::uint64_t kTablePresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kTableSwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kTableFile = std::uint64_t{1} << 61;
constexpr std::uint64_t kTableGuard = std::uint64_t{1} << 58;  // Linux 6.15; 0 before

PageFlags flags_of_region(std::uint64_t categories) {
  PageFlags flags;
  flags.guard = (categories & sys::kPageIsGuard) != 0;
  flags.swapped = (categories & sys::kPageIsPresent) == 0 && !flags.guard;
  flags.file = (categories & sys::kPageIsFile) != 0 && !flags.guard;
  flags.zero = (categories & sys::kPageIsZero) != 0;
  return flags;
}

PageFlags flags_of_entry(std::uint64_t entry) {
  PageFlags flags;
  flags.guard = (entry & kTableGuard) != 0;
  flags.swapped = (entry & kTablePresent) == 0 && !flags.guard;
  flags.file = (entry & kTableFile) != 0 && !flags.guard;
  return flags;
}

void append(std::uint64_t start, std::uint64_t end, PageFlags flags, std::vector<PageRun>& into) {
  if (!into.empty() && into.back().end == start && into.back().flags == flags) {
    into.back().end = end;
  } else {
    into.push_back({start, end, flags});
  }
}

}  // namespace

Result<std::uint64_t> Pagemap::list_populated(std::uint64_t start, std::uint64_t end, std::size_t most,
                                              std::vector<PageRun>& into) {
  if (has_scan_) {
    auto scanned = scan(start, end, most, into);
    if (scanned || scanned.error().number != ENOTTY) return scanned;
    has_scan_ = false;
  }
  return read_table(start, end, most, into);
}

Result<std::uint64_t> Pagemap::scan(std::uint64_t start, std::uint64_t end, std::size_t most,
                                    std::vector<PageRun>& into) {
  end = end - start > kMaxStretchBytes ? start + kMaxStretchBytes : end;
  constexpr std::uint64_t kAnyOf = sys::kPageIsPresent | sys::kPageIsSwapped;
  std::array<sys::PageRegion, kRegions> regions;
  const std::size_t before = into.size();
  while (start < end && into.size() - before < most) {
    const std::uint64_t wanted =
        kAnyOf | sys::kPageIsFile | sys::kPageIsZero | (knows_guard_ ? sys::kPageIsGuard : 0);
    const auto room = std::span(regions).first(std::min(kRegions, most - (into.size() - before)));
    const auto scanned = sys::pagemap_scan(file_.get(), start, end, kAnyOf, wanted, room, name_);
    if (!scanned && scanned.error().number == EINVAL && knows_guard_) {
      knows_guard_ = false;
      continue;
    }
    if (!scanned) return scanned.error();
    // Linux 6.18 may leave walk_end before the end of the last region: going on there would tell it twice.
    std::uint64_t next = scanned->walk_end;
    for (const sys::PageRegion& region : room.first(scanned->regions)) {
      if (region.start < start || region.end <= region.start || region.end > end)
        return Error{Errc::malformed, "scan " + name_ + ": a region outside of what was asked for"};
      append(region.start, region.end, flags_of_region(region.categories), into);
      next = std::max(next, region.end);
    }
    if (next <= start) return Error{Errc::io, "scan " + name_ + ": no progress"};
    start = next;
  }
  return start;
}

Result<std::uint64_t> Pagemap::read_table(std::uint64_t start, std::uint64_t end, std::size_t most,
                                          std::vector<PageRun>& into) {
  constexpr std::size_t kEntryBytes = 8;
  const std::uint64_t page = sys::page_size();
  end = end - start > kMaxStretchBytes ? start + kMaxStretchBytes : end;
  std::array<std::byte, 64 << 10> block;
  const std::size_t before = into.size();
  while (start < end && into.size() - before < most) {
    const std::uint64_t pages = std::min<std::uint64_t>((end - start) / page, block.size() / kEntryBytes);
    const auto room = std::span(block).first(static_cast<std::size_t>(pages) * kEntryBytes);
    const auto got = sys::pread_full(file_.get(), room, start / page * kEntryBytes, name_);
    if (!got) return got.error();
    if (*got < room.size()) return Error{Errc::vanished, name_ + ": its address space is gone"};
    ByteCursor in(room, std::endian::native);
    for (std::uint64_t index = 0; index < pages && into.size() - before < most; ++index, start += page) {
      const std::uint64_t entry = in.u64();
      if ((entry & (kTablePresent | kTableSwapped)) == 0) continue;
      append(start, start + page, flags_of_entry(entry), into);
    }
  }
  return start;
}

}  // namespace ctriage::proc
