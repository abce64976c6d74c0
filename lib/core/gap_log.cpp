#include "lib/core/gap_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage {

void GapLog::pass_on(const Gap& gap) {
  if (sink_) {
    sink_(gap);
  } else {
    kept_.push_back(gap);
  }
}

void GapLog::add(const Gap& gap) {
  if (++seen_[{gap.impact, gap.artifact, gap.error.code}] <= kMaxGapsPerKind) pass_on(gap);
}

void GapLog::finish() {
  for (const auto& [kind, count] : seen_) {
    if (count <= kMaxGapsPerKind) continue;
    const auto& [impact, artifact, code] = kind;
    pass_on({impact, artifact, "",
             Error{code, fmt::format("and {} more like this, counted, not written",
                                     with_commas(count - kMaxGapsPerKind))}});
  }
}

std::uint64_t GapLog::count(Impact impact) const {
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : seen_) {
    if (std::get<Impact>(kind) == impact) sum += count;
  }
  return sum;
}

std::uint64_t GapLog::total() const {
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : seen_) sum += count;
  return sum;
}

void GapLog::merge(GapLog&& other) {
  for (const Gap& gap : other.kept_) {
    --other.seen_[{gap.impact, gap.artifact, gap.error.code}];
    add(gap);
  }
  for (const auto& [kind, count] : other.seen_) seen_[kind] += count;  // what it counted and did not keep
  other.kept_.clear();
  other.seen_.clear();
}

}  // namespace ctriage
