#include "lib/memory/finder.h"

#include <algorithm>
#include <optional>

#include "lib/core/sys_memory.h"
#include "lib/core/text.h"

namespace ctriage::memory {
namespace {

// What is left after widen(): enough less than kMaxRuns that it is not called for every run.
constexpr std::size_t kFewRuns = kMaxRuns / 4 * 3;
static_assert(kMaxMappings <= kFewRuns);  // one run of each mapping can be kept

}  // namespace

std::uint64_t Finder::take(std::uint32_t region, const proc::PageRun& page_run) {
  const Region& of = plan_.regions[region];
  const std::uint64_t start = std::max(page_run.start, of.start);
  const std::uint64_t end = std::min(page_run.end, of.end);
  if (start >= end) return 0;
  const PageState state = state_of(region, page_run.flags);
  if (state == PageState::file && start == of.start && of.offset_bytes == 0) {
    const std::uint64_t first = std::min(end, start + sys::page_size());
    append({start, first, region, 0, PageState::data, true});
    if (first < end) append({first, end, region, 0, state, true});
  } else if (state == PageState::data && is_one_object(of)) {
    const std::uint64_t base = of.start - of.offset_bytes;  // may wrap, and does so back
    for (const auto& part : options_.shared->claim(of.device, of.inode, start - base, end - base, pid_)) {
      const bool ours = part.pid == 0 || part.pid == pid_;  // it may map an object twice
      append({part.start + base, part.end + base, region, part.pid,
              ours ? PageState::data : PageState::shared, true});
    }
  } else {
    append({start, end, region, 0, state, true});
  }
  return end - start;
}

PageState Finder::state_of(std::uint32_t region, proc::PageFlags flags) const {
  if (flags.guard) return PageState::guard;
  if (flags.zero) return PageState::zero;
  if (flags.swapped && !options_.swap_in) return PageState::swapped;
  if (flags.file && plan_.choices[region].take == Take::changed) return PageState::file;
  return PageState::data;
}

// SysV segments have their shmid for an inode, on one device for all IPC namespaces: two may look the same.
bool Finder::is_one_object(const Region& region) const {
  if (options_.shared == nullptr || !region.is_shared() || region.inode == 0) return false;
  const std::string_view path = plan_.path_of(region);
  return !path.empty() && !path.starts_with("/SYSV");
}

void Finder::append(const Run& run) {
  if (!plan_.runs.empty()) {
    Run& last = plan_.runs.back();
    if (last.end == run.start && last.region == run.region && last.state == run.state &&
        last.shared_with == run.shared_with && last.exact == run.exact) {
      last.end = run.end;
      return;
    }
  }
  if (plan_.cut.contains(run.region)) return leave_out(run);
  plan_.runs.push_back(run);
  if (plan_.runs.size() >= kMaxRuns) widen();
}

void Finder::leave_out(const Run& run) {
  if (run.state == PageState::zero) return;  // a hole reads the same
  std::uint64_t& lost = plan_.cut[run.region];
  (run.state == PageState::data ? lost : untold_bytes_) += run.end - run.start;
}

// Too many. A target makes them for a page each, anywhere in its addresses: so they are not made less by
// reading what lies far between them, and the mappings with the most lose first.
void Finder::widen() {
  for (std::uint64_t most = 16 << 10; plan_.runs.size() > kMaxRuns / 2 && most <= kMaxGapBytes; most *= 4)
    close_gaps(most);
  if (plan_.runs.size() > kFewRuns)
    std::erase_if(plan_.runs, [](const Run& run) { return run.state == PageState::zero; });
  for (std::size_t most = kFewRuns; plan_.runs.size() > kFewRuns; most -= (most + 7) / 8) cut(most);
}

// Runs of data in a mapping become one, with whatever lies between them.
void Finder::close_gaps(std::uint64_t most) {
  std::vector<Run>& runs = plan_.runs;
  std::size_t kept = 0;
  std::optional<std::size_t> data;  // the last that was kept
  for (const Run& run : runs) {
    if (run.state == PageState::data) {
      if (data && runs[*data].region == run.region) {
        Run& into = runs[*data];
        const std::uint64_t gap = run.start - into.end;
        if (gap <= most && gap <= kMaxAddedBytes - added_bytes_) {
          added_bytes_ += gap;
          into.end = run.end;
          into.exact = false;
          kept = *data + 1;
          continue;
        }
      }
      data = kept;
    }
    runs[kept++] = run;
  }
  runs.resize(kept);
}

void Finder::cut(std::size_t most) {
  std::vector<Run>& runs = plan_.runs;
  std::size_t kept = 0;
  std::size_t of_region = 0;
  std::optional<std::uint32_t> region;
  for (const Run& run : runs) {
    if (region != run.region) of_region = 0;
    region = run.region;
    if (++of_region > most)
      leave_out(run);
    else
      runs[kept++] = run;
  }
  runs.resize(kept);
}

void Finder::tell(GapLog& gaps) const {
  const auto gap = [&](Impact impact, const std::string& what) {
    gaps.add({impact,
              "memory.pages",
              "pid " + std::to_string(pid_),
              {Errc::limit, "more than " + with_commas(kMaxRuns) + " runs of pages: " + what}});
  };
  if (added_bytes_ > 0)
    gap(Impact::note, human_size(added_bytes_) + " between near ones stands as zeros in the core");
  if (untold_bytes_ > 0)
    gap(Impact::degraded,
        human_size(untold_bytes_) + " that is in files, in swap or in other cores is told of as holes");
  const std::uint64_t lost = plan_.left_out_bytes();
  if (lost > 0)
    gap(Impact::lost, human_size(lost) + " in " + counted(plan_.cut.size(), "mapping", "mappings") +
                          " was left out: the ranges tell which");
}

}  // namespace ctriage::memory
