#include "lib/memory/policy.h"

#include "lib/proc/proc.h"

namespace ctriage::memory {

// Memory that only looks like a file has a path, too: memfd, SysV, shared anonymous and deleted files end in
// " (deleted)"; "[heap]", "anon_inode:[io_uring]" and "socket:[7]" do not begin with '/'. Who names a file so
// that it looks deleted has it taken whole.
bool is_named_file(std::uint64_t inode, std::string_view path) {
  return inode != 0 && path.starts_with('/') && !path.ends_with(proc::kDeleted);
}

Choice choose(const Region& region, std::string_view path, bool in_memory, FilePages file_pages) {
  if (path == "[vsyscall]") return {Take::nothing, PageState::device, "the kernel's, the same everywhere"};
  if (path.starts_with("[vvar")) return {Take::nothing, PageState::device, "the kernel's clock data"};
  if (region.flags.io)
    return {Take::nothing, PageState::device, "VM_IO: reading a device's registers acts on it"};
  if (region.flags.pfn)
    return {Take::nothing, PageState::device, "VM_PFNMAP: memory of a device or of the kernel"};
  // Drivers put pages into mappings of sockets and io_uring as well; those are plain memory.
  if (region.flags.mixed && path.starts_with("/dev/") && region.inode != 0)
    return {Take::nothing, PageState::device, "VM_MIXEDMAP of a device node"};
  if (!is_named_file(region.inode, path) || in_memory || region.flags.huge || file_pages == FilePages::all)
    return {};
  if (file_pages == FilePages::none) return {Take::nothing, PageState::file, "left out by --file-pages none"};
  if (region.is_shared()) return {Take::nothing, PageState::file, "shared pages of a file: --file-pages all"};
  return {Take::changed, PageState::file, {}};
}

}  // namespace ctriage::memory
