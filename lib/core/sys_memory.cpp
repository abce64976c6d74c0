#include "lib/core/sys_memory.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {
namespace {

struct ScanArguments {  // struct pm_scan_arg
  std::uint64_t size = sizeof(ScanArguments);
  std::uint64_t flags = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t walk_end = 0;
  std::uint64_t regions = 0;  // an address
  std::uint64_t regions_size = 0;
  std::uint64_t max_pages = 0;  // 0: any number
  std::uint64_t category_inverted = 0;
  std::uint64_t category_mask = 0;
  std::uint64_t category_anyof_mask = 0;
  std::uint64_t return_mask = 0;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);

}  // namespace

std::size_t page_size() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

Result<std::span<std::byte>> map_shared(std::size_t size) {
  if (const int refused = gate::admit(Call::space); refused != 0) return system_error(refused, "map memory");
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return failed("map", "memory to share with a helper process");
  return std::span(static_cast<std::byte*>(at), size);
}

void unmap(std::span<std::byte> memory) noexcept {
  if (!memory.empty()) ::munmap(memory.data(), memory.size());
}

Status forbid_access(std::span<std::byte> memory) {
  return done_or(attempt(Call::space, [&] { return ::mprotect(memory.data(), memory.size(), PROT_NONE); }),
                 "forbid access to", "a page of our own");
}

Result<PagesScanned> pagemap_scan(int pagemap, std::uint64_t start, std::uint64_t end, std::uint64_t any_of,
                                  std::uint64_t wanted, std::span<PageRegion> into, std::string_view name) {
  ScanArguments arguments;
  arguments.start = start;
  arguments.end = end;
  arguments.regions = reinterpret_cast<std::uintptr_t>(into.data());
  arguments.regions_size = into.size();
  arguments.category_anyof_mask = any_of;
  arguments.return_mask = wanted;
  const int found = attempt(Call::read, [&] { return ::ioctl(pagemap, kPagemapScan, &arguments); });
  if (found < 0) return failed("scan", name);
  return PagesScanned{static_cast<std::size_t>(found), arguments.walk_end};
}

}  // namespace ctriage::sys
