#pragma once
// Makes the runs of a plan of the pages that are there, as few as the limits ask for.
#include <cstdint>

#include "lib/core/gap_log.h"
#include "lib/memory/plan.h"

namespace ctriage::memory {

class Finder {
 public:
  Finder(Plan& plan, const PlanOptions& options, std::int32_t pid)
      : plan_(plan), options_(options), pid_(pid) {}
  // The part of it that lies in the mapping; its size.
  std::uint64_t take(std::uint32_t region, const proc::PageRun& page_run);
  // A run that comes after all before it.
  void add(const Run& run) { append(run); }
  // What the limits of runs cost.
  void tell(GapLog& gaps) const;

 private:
  [[nodiscard]] PageState state_of(std::uint32_t region, proc::PageFlags flags) const;
  [[nodiscard]] bool is_one_object(const Region& region) const;
  void append(const Run& run);
  void leave_out(const Run& run);
  void widen();
  void close_gaps(std::uint64_t most);
  void cut(std::size_t most);

  Plan& plan_;
  const PlanOptions& options_;
  std::int32_t pid_;
  std::uint64_t added_bytes_ = 0;
  std::uint64_t untold_bytes_ = 0;  // left where they are, and not told of any more
};

}  // namespace ctriage::memory
