#pragma once
// `diff A B`: what two sources do not have in common, a line each, by container and kind.
#include <functional>
#include <string>

#include "lib/core/task.h"
#include "lib/model/difference.h"
#include "lib/report/report.h"

namespace ctriage::report {

// Emits every difference and then fills in what was compared; gaps of both go to the task.
using ListDifferences = std::function<Status(Comparison& comparison, const Emit<Difference>& emit)>;

struct DifferenceOptions {
  std::string before;  // as they were typed
  std::string after;
  bool every_gap = false;
};

Result<Outcome> difference_text(Comparison& comparison, const ListDifferences& list,
                                const DifferenceOptions& options, const Style& style, const Out& out,
                                Task& task);
// "ctriage.comparison/1", or lines: the sources, the containers, each difference, what was compared, gaps.
// Values of secrets are in it.
Result<Outcome> difference_json(Comparison& comparison, const ListDifferences& list, Format format,
                                const Out& out, Task& task);

}  // namespace ctriage::report
