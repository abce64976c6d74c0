#pragma once
// System calls on memory: part of sys.h, apart since few need them.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "lib/core/result.h"

namespace ctriage::sys {

std::size_t page_size() noexcept;

// Zeroed memory that stays shared with the processes that we fork from now on.
Result<std::span<std::byte>> map_shared(std::size_t size);
void unmap(std::span<std::byte> memory) noexcept;
Status forbid_access(std::span<std::byte> memory);  // PROT_NONE, of whole pages

// ioctl(2) PAGEMAP_SCAN of /proc/PID/pagemap, Linux 6.7, Documentation/admin-guide/mm/pagemap.rst. These are
// struct page_region, struct pm_scan_arg and PAGE_IS_* of linux/fs.h, which older headers do not have.
struct PageRegion {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t categories = 0;
};
constexpr std::uint64_t kPageIsFile = 1 << 2;  // or shared memory
constexpr std::uint64_t kPageIsPresent = 1 << 3;
constexpr std::uint64_t kPageIsSwapped = 1 << 4;
constexpr std::uint64_t kPageIsZero = 1 << 5;   // the kernel's page of zeros
constexpr std::uint64_t kPageIsGuard = 1 << 8;  // MADV_GUARD_INSTALL, Linux 6.15: EINVAL before
struct PagesScanned {
  std::size_t regions = 0;     // of `into`, filled in
  std::uint64_t walk_end = 0;  // where the kernel's walk ended; may lie before the end of the last region
};
// Regions of pages in [start, end) that are in any of the categories `any_of`, with those of `wanted` that
// they are in. ENOTTY where the kernel does not know it.
Result<PagesScanned> pagemap_scan(int pagemap, std::uint64_t start, std::uint64_t end, std::uint64_t any_of,
                                  std::uint64_t wanted, std::span<PageRegion> into, std::string_view name);

}  // namespace ctriage::sys
