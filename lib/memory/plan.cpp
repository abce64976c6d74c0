#include "lib/memory/plan.h"

#include <fmt/format.h>
#include <linux/magic.h>

#include <algorithm>
#include <optional>
#include <set>

#include "lib/core/text.h"
#include "lib/memory/finder.h"
#include "lib/memory/paths.h"

namespace ctriage::memory {
namespace {

std::string origin_of(std::int32_t pid) { return "pid " + std::to_string(pid); }

elf::Segment segment_of(const Region& region, std::uint64_t start, std::uint64_t end, bool has_data) {
  return {start,
          end - start,
          has_data,
          region.protection[0] == 'r',
          region.protection[1] == 'w',
          region.protection[2] == 'x'};
}

// Each look may cost kReadTimeoutNs, and a process may have 65,000 mappings of a dead server.
constexpr unsigned kMaxFailedLooks = 4;

// Whether files of a device lie in memory: asked once of each, of the reader, since a server may be behind
// it.
class FileSystems {
 public:
  FileSystems(const Root& process, proc::Readers& readers, const Task& task)
      : process_(process), readers_(readers), task_(task) {}

  bool is_memory(const Region& region) {
    const auto known = known_.find(region.device);
    if (known != known_.end()) return known->second;
    // One mapping that cannot be looked at says nothing of others, and is taken.
    unsigned& failed = failed_[region.device];
    if (failed >= kMaxFailedLooks) return true;
    const std::string name = name_of(region);
    auto pinned = process_.pin_magic(name);
    const auto kind = pinned ? readers_.file_system(pinned->get(), name, task_)
                             : Result<std::uint64_t>(std::move(pinned).error());
    if (!kind) {
      ++failed;
      return true;
    }
    return known_[region.device] = *kind == TMPFS_MAGIC;
  }

  // What an object in memory takes there, each once.
  std::uint64_t allocated_bytes(const Region& region) {
    if (!is_memory(region) || !counted_.emplace(region.device, region.inode).second) return 0;
    const std::string name = name_of(region);
    auto pinned = process_.pin_magic(name);
    const auto info = pinned ? file_info(pinned->get(), name) : Result<FileInfo>(std::move(pinned).error());
    return info ? info->allocated_bytes : 0;
  }

 private:
  static std::string name_of(const Region& region) {
    return fmt::format("map_files/{:x}-{:x}", region.start, region.end);
  }

  const Root& process_;
  proc::Readers& readers_;
  const Task& task_;
  std::map<std::uint64_t, bool> known_;
  std::map<std::uint64_t, unsigned> failed_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> counted_;
};

}  // namespace

std::uint64_t Plan::left_out_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [region, lost] : cut) bytes += lost;
  return bytes;
}

void Plan::each_segment(const elf::TakeSegment& take) const {
  std::size_t next = 0;
  for (std::uint32_t index = 0; index < regions.size(); ++index) {
    const Region& region = regions[index];
    std::uint64_t told = region.start;
    for (; next < runs.size() && runs[next].region == index; ++next) {
      const Run& run = runs[next];
      if (run.state != PageState::data) continue;
      if (told < run.start) take(segment_of(region, told, run.start, false));
      take(segment_of(region, run.start, run.end, true));
      told = run.end;
    }
    if (told < region.end) take(segment_of(region, told, region.end, false));
  }
}

std::vector<SharedPages::Part> SharedPages::claim(std::uint64_t device, std::uint64_t inode,
                                                  std::uint64_t start, std::uint64_t end, std::int32_t pid) {
  if (parts_ >= most_parts_ && !taken_.contains({device, inode})) return {{start, end, 0}};
  std::map<std::uint64_t, Part>& taken = taken_[{device, inode}];
  std::vector<Part> parts;
  std::uint64_t at = start;
  auto next = taken.upper_bound(start);
  if (next != taken.begin()) --next;
  for (; next != taken.end() && next->second.start < end; ++next) {
    const Part& had = next->second;
    if (had.end <= at) continue;
    if (had.start > at) parts.push_back({at, had.start, 0});
    const std::uint64_t until = std::min(had.end, end);
    parts.push_back({std::max(at, had.start), until, had.pid});
    at = until;
  }
  if (at < end) parts.push_back({at, end, 0});
  for (const Part& part : parts) {
    if (part.pid != 0) continue;
    const auto before = taken.lower_bound(part.start);
    if (before != taken.begin()) {
      Part& neighbour = std::prev(before)->second;
      if (neighbour.end == part.start && neighbour.pid == pid) {
        neighbour.end = part.end;
        continue;
      }
    }
    if (parts_ >= most_parts_) continue;
    taken[part.start] = {part.start, part.end, pid};
    ++parts_;
  }
  return parts;
}

void SharedPages::forget(std::int32_t pid) {
  for (auto& [object, taken] : taken_)
    parts_ -= std::erase_if(taken, [pid](const auto& part) { return part.second.pid == pid; });
  std::erase_if(taken_, [](const auto& object) { return object.second.empty(); });
}

bool begin_at(std::uint64_t end, Region& region) {
  if (region.end <= end) return false;
  if (region.start >= end) return true;
  if (region.inode != 0) region.offset_bytes += end - region.start;
  region.start = end;
  return true;
}

Status list_regions(const Root& process, proc::Readers& readers, std::int32_t pid, Plan& into, Task& task) {
  Paths paths(into.paths);
  std::uint64_t beyond = 0;
  std::uint64_t torn = 0;
  bool flags_known = true;
  auto listed = proc::list_smaps(
      process, readers, pid,
      [&](Mapping&& mapping, proc::VmFlags flags) -> Status {
        if (into.regions.size() >= kMaxMappings) {
          ++beyond;
          return Done{};
        }
        Region region;
        region.start = mapping.start.value;
        region.end = mapping.end.value;
        region.offset_bytes = mapping.offset_bytes;
        region.device = mapping.device.value;
        region.inode = mapping.inode.value;
        // The text is made in pieces and may tear between them, proc_pid_maps(5).
        if (!into.regions.empty() && region.start < into.regions.back().end) {
          ++torn;
          if (!begin_at(into.regions.back().end, region)) return Done{};
        }
        std::copy_n(mapping.protection.begin(), region.protection.size(), region.protection.begin());
        region.path = paths.place(mapping.path.raw);
        region.flags = flags;
        flags_known = flags_known && flags.known;
        into.regions.push_back(region);
        return Done{};
      },
      task);
  if (!listed) return listed;
  const auto gap = [&](Impact impact, Errc code, std::string what) {
    task.gaps.add({impact, "memory.mappings", origin_of(pid), {code, std::move(what)}});
  };
  if (beyond > 0)
    gap(Impact::lost, Errc::limit,
        std::to_string(beyond) + " mappings beyond " + std::to_string(kMaxMappings) + " were not read");
  if (torn > 0)
    gap(Impact::degraded, Errc::changed,
        counted(torn, "mapping", "mappings") + " came while the list was read: joined to those before");
  if (paths.left_out() > 0)
    gap(Impact::degraded, Errc::limit,
        std::to_string(paths.left_out()) + " mappings stand without their paths, which are more than 16 MiB");
  if (!flags_known)
    gap(Impact::degraded, Errc::unsupported,
        "smaps has no VmFlags: mappings of devices are told by name only");
  return Done{};
}

void choose_regions(const Root& process, proc::Readers& readers, const PlanOptions& options, Plan& into,
                    const Task& task) {
  FileSystems file_systems(process, readers, task);
  for (const Region& region : into.regions) {
    const std::string_view path = into.path_of(region);
    const bool in_memory =
        region.is_shared() && is_named_file(region.inode, path) && file_systems.is_memory(region);
    into.choices.push_back(choose(region, path, in_memory, options.file_pages));
    if (region.is_shared() && region.inode != 0 && into.choices.back().take == Take::all)
      into.untouched_bytes += file_systems.allocated_bytes(region);
  }
}

Status find_runs(proc::Memory& memory, std::int32_t pid, const PlanOptions& options, Plan& into, Task& task) {
  Finder finder(into, options, pid);
  std::vector<proc::PageRun> found;
  const std::vector<Region>& regions = into.regions;
  const auto is_taken = [&](std::size_t index) { return into.choices[index].take != Take::nothing; };
  for (std::uint32_t first = 0, end = 0; first < regions.size(); first = end) {
    end = first + 1;
    if (!is_taken(first)) continue;
    // Mappings side by side are looked at together: a process may have 65,000.
    while (end < regions.size() && is_taken(end) && regions[end].start == regions[end - 1].end) ++end;
    std::uint32_t index = first;
    for (std::uint64_t at = regions[first].start; at < regions[end - 1].end;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      found.clear();
      auto next = memory.list_populated(at, regions[end - 1].end, found);
      if (!next) return std::move(next).error();
      for (const proc::PageRun& run : found) {
        while (regions[index].end <= run.start) ++index;
        for (std::uint32_t of = index; of < end && regions[of].start < run.end; ++of) {
          const std::uint64_t bytes = finder.take(of, run);
          if (regions[of].is_shared() && regions[of].inode != 0)
            into.untouched_bytes -= std::min(into.untouched_bytes, bytes);
        }
      }
      at = *next;
    }
  }
  finder.tell(task.gaps);
  return Done{};
}

}  // namespace ctriage::memory
