#pragma once
// What of a process's memory will be read: its mappings, and the runs of pages that are there.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/elf/core.h"
#include "lib/memory/policy.h"
#include "lib/proc/memory.h"

namespace ctriage::memory {

// Runs that are kept exactly; of more, neighbours become one, as far as kMaxGapBytes and kMaxAddedBytes go,
// and the mappings with the most are cut. With the holes between them and kMaxMappings that is at most
// 262,144 segments of a core.
constexpr std::size_t kMaxRuns = 98'304;
constexpr std::size_t kMaxMappings = 65'536;     // max_map_count is 65,530 by default, proc_sys_vm(5)
constexpr std::size_t kMaxPathBytes = 16 << 20;  // of all mappings' paths, each kept once
constexpr std::size_t kMaxSharedParts =
    262'144;  // of shared objects, of all processes; of more each has its own

constexpr std::uint64_t kMaxGapBytes = 1 << 20;    // between runs that become one
constexpr std::uint64_t kMaxAddedBytes = 1 << 30;  // of all such gaps: they stand in the core as zeros

struct Run {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t region = 0;
  std::int32_t shared_with = 0;  // of PageState::shared
  PageState state = PageState::data;
  bool exact = true;  // else pages in it that are not there were not there before, either
};

struct Plan {
  std::vector<Region> regions;  // ascending, apart
  std::vector<Choice> choices;  // one a region
  std::vector<Run> runs;        // ascending; what is in none is a hole
  std::map<std::uint32_t, std::uint64_t>
      cut;  // regions that lost runs to kMaxRuns, and bytes of data in those
  std::vector<std::string> paths;
  std::uint64_t untouched_bytes =
      0;  // of shared objects in memory: there, and not in this process's page tables

  [[nodiscard]] std::string_view path_of(const Region& region) const { return paths[region.path]; }
  [[nodiscard]] std::uint64_t left_out_bytes() const;
  // Segments of a core: each run of data, and what lies before, between and after them.
  void each_segment(const elf::TakeSegment& take) const;
};

// Which pages of shared objects are in the core of another process already, by offset in the object.
class SharedPages {
 public:
  explicit SharedPages(std::size_t most_parts = kMaxSharedParts) : most_parts_(most_parts) {}
  struct Part {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::int32_t pid = 0;  // 0: nobody has it yet
  };
  // [start, end) of the object in parts, ascending; what nobody had is `pid`'s from now on.
  std::vector<Part> claim(std::uint64_t device, std::uint64_t inode, std::uint64_t start, std::uint64_t end,
                          std::int32_t pid);
  // What it had is nobody's again: its core does not have it.
  void forget(std::int32_t pid);

 private:
  // By object, then start: end and process.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::map<std::uint64_t, Part>> taken_;
  std::size_t parts_ = 0;
  std::size_t most_parts_;
};

struct PlanOptions {
  FilePages file_pages = FilePages::changed;
  bool swap_in = false;
  SharedPages* shared = nullptr;  // none: every process has its own copy
};

// Cuts off `region` what lies before `end`; false: nothing of it is left.
bool begin_at(std::uint64_t end, Region& region);
// The mappings of an open /proc/PID. Errc::vanished when it is gone; mappings beyond a limit are a lost gap.
Status list_regions(const Root& process, proc::Readers& readers, std::int32_t pid, Plan& into, Task& task);
// Fills in `choices`, and in `untouched_bytes` what the shared objects have: find_runs() takes off what it
// finds.
void choose_regions(const Root& process, proc::Readers& readers, const PlanOptions& options, Plan& into,
                    const Task& task);
// Looks which pages are there.
Status find_runs(proc::Memory& memory, std::int32_t pid, const PlanOptions& options, Plan& into, Task& task);

}  // namespace ctriage::memory
