#pragma once
// Digests of one source's pages, as many as fit, for the walk through the other's.
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lib/compare/page_digest.h"

namespace ctriage::compare {

constexpr std::size_t kTablePages = 1 << 20;         // of one pass: 4 GiB of memory in 8 MiB
constexpr std::size_t kTableRuns = 131'072;          // of one pass
constexpr std::size_t kMaxKnownStretches = 262'144;  // of addresses that earlier passes were about
constexpr std::size_t kMaxPagePasses = 64;

using ProcessKey = std::pair<std::uint32_t, std::int32_t>;  // place of its container, pid

class PageTable {
 public:
  explicit PageTable(std::size_t pages = kTablePages, std::size_t runs = kTableRuns)
      : most_pages_(pages), most_runs_(runs) {}

  // False when it is full: what did not fit was not taken, and is in no pass yet. Pages of earlier passes are
  // passed over.
  bool add(const PageRun& run);
  [[nodiscard]] std::uint64_t pages() const { return digests_.size(); }
  // Calls back for each page of `run` that is in the table, with its address and whether it is the same.
  template <class Take>
  void compare(const PageRun& run, const Take& take) const {
    const auto process = runs_.find({run.area.container, run.area.pid});
    if (process == runs_.end()) return;
    auto at = process->second.upper_bound(run.address);
    if (at != process->second.begin()) --at;
    for (; at != process->second.end() && at->first < run.end(); ++at) {
      const Run& own = at->second;
      const std::uint64_t own_end = at->first + own.count * kComparedPageBytes;
      const std::uint64_t first = std::max(at->first, run.address);
      const std::uint64_t end = std::min(own_end, run.end());
      if ((first - run.address) % kComparedPageBytes != (first - at->first) % kComparedPageBytes) continue;
      for (std::uint64_t address = first; address < end; address += kComparedPageBytes)
        take(address, digests_[own.first + (address - at->first) / kComparedPageBytes] ==
                          run.digests[(address - run.address) / kComparedPageBytes]);
    }
  }
  // For the next pass. False: too many stretches to remember.
  bool clear();

 private:
  struct Run {
    std::size_t first = 0;  // of the digests
    std::size_t count = 0;
  };
  bool add_part(const ProcessKey& process, std::uint64_t address, std::span<const std::uint64_t> digests);

  std::size_t most_pages_;
  std::size_t most_runs_;
  std::vector<std::uint64_t> digests_;
  std::map<ProcessKey, std::map<std::uint64_t, Run>> runs_;  // by address, none overlap
  std::size_t run_count_ = 0;
  std::map<ProcessKey, std::map<std::uint64_t, std::uint64_t>> known_;  // start to end, of earlier passes
  std::size_t known_count_ = 0;
};

}  // namespace ctriage::compare
