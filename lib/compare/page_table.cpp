#include "lib/compare/page_table.h"

#include <algorithm>

namespace ctriage::compare {
namespace {

// The first address at or after `address` that is in no stretch of `map`, and how far from there none begins.
template <class Map, class End>
std::pair<std::uint64_t, std::uint64_t> free_from(const Map& map, std::uint64_t address, const End& end_of) {
  auto next = map.upper_bound(address);
  if (next != map.begin()) {
    const auto before = std::prev(next);
    address = std::max(address, end_of(*before));
  }
  while (next != map.end() && next->first <= address) {
    address = std::max(address, end_of(*next));
    ++next;
  }
  return {address, next == map.end() ? UINT64_MAX : next->first};
}

}  // namespace

bool PageTable::add(const PageRun& run) {
  const ProcessKey process{run.area.container, run.area.pid};
  const auto& known = known_[process];
  for (std::uint64_t address = run.address; address < run.end();) {
    const auto [start, limit] = free_from(known, address, [](const auto& each) { return each.second; });
    if (start >= run.end()) break;
    const std::uint64_t end = std::min(limit, run.end());
    const std::size_t skip = (start - run.address) / kComparedPageBytes;
    const std::size_t count = (end - start + kComparedPageBytes - 1) / kComparedPageBytes;
    if (!add_part(process, start,
                  std::span(run.digests).subspan(skip, std::min(count, run.digests.size() - skip))))
      return false;
    address = end;
  }
  return true;
}

bool PageTable::add_part(const ProcessKey& process, std::uint64_t address,
                         std::span<const std::uint64_t> digests) {
  auto& runs = runs_[process];
  while (!digests.empty()) {
    // The same address twice, as two processes of one number have it: the first stays.
    const auto [start, limit] = free_from(
        runs, address, [](const auto& each) { return each.first + each.second.count * kComparedPageBytes; });
    const std::size_t skip = (start - address) / kComparedPageBytes;
    if (skip >= digests.size()) return true;
    digests = digests.subspan(skip);
    address = start;
    const std::size_t count = std::min<std::uint64_t>(digests.size(), (limit - start) / kComparedPageBytes);
    if (count == 0) return true;  // not at a page's beginning: a forged one
    if (digests_.size() + count > most_pages_ || run_count_ >= most_runs_) return false;
    runs.emplace(start, Run{digests_.size(), count});
    ++run_count_;
    digests_.insert(digests_.end(), digests.begin(), digests.begin() + static_cast<std::ptrdiff_t>(count));
    digests = digests.subspan(count);
    address += count * kComparedPageBytes;
  }
  return true;
}

bool PageTable::clear() {
  for (const auto& [process, runs] : runs_) {
    auto& known = known_[process];
    for (const auto& [start, run] : runs) {
      const std::uint64_t end = start + run.count * kComparedPageBytes;
      auto after = known.upper_bound(start);
      if (after != known.begin() && std::prev(after)->second >= start) {
        std::prev(after)->second = std::max(std::prev(after)->second, end);
      } else {
        known.emplace(start, end);
        ++known_count_;
      }
    }
  }
  runs_.clear();
  run_count_ = 0;
  digests_.clear();
  return known_count_ <= kMaxKnownStretches;
}

}  // namespace ctriage::compare
