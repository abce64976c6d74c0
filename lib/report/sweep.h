#pragma once
// `sweep`: every container of a node, the worst first.
#include <string>

#include "lib/model/sweep.h"
#include "lib/report/report.h"

namespace ctriage::report {

struct SweepOptions {
  bool all = false;        // containers with nothing to remark, too
  bool every_gap = false;  // all kinds of gaps, not the first few
};

std::string sweep_text(const SweepResult& result, const SweepOptions& options, const Style& style);
// "ctriage.sweep/1". Nothing is left out.
std::string sweep_json(const SweepResult& result);

}  // namespace ctriage::report
