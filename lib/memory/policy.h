#pragma once
// Which of the pages of a mapping that are there go into a core: SEMANTICS.md has the table.
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/model/memory.h"
#include "lib/proc/smaps.h"

namespace ctriage::memory {

enum class FilePages : std::uint8_t {  // of files that are mapped and have a name still
  changed,                             // private copies, and the first page: the ELF header with the build-id
  all,                                 // every page that is there
  none,
};
constexpr auto enum_names(FilePages) { return std::array<std::string_view, 3>{"changed", "all", "none"}; }

enum class Take : std::uint8_t { all, changed, nothing };

struct Region {  // a mapping
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::array<char, 4> protection{};
  std::uint32_t path = 0;  // of Plan::paths
  proc::VmFlags flags;

  [[nodiscard]] bool is_shared() const { return protection[3] == 's'; }
};

struct Choice {
  Take take = Take::all;
  PageState left = PageState::file;  // state of the mapping where nothing is taken
  std::string_view reason;           // of that
};

// A file with a name that still leads to it; memfd, SysV and other shared memory and deleted files are none.
bool is_named_file(std::uint64_t inode, std::string_view path);
// `in_memory`: the file lies on a tmpfs, so its pages are nowhere else.
Choice choose(const Region& region, std::string_view path, bool in_memory, FilePages file_pages);

}  // namespace ctriage::memory
