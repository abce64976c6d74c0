#pragma once
// `drift SOURCE`: what deserves a look, the worst first, with what stands around it. SCREENS.md.
#include <string>
#include <vector>

#include "lib/model/snapshot.h"
#include "lib/model/verdict.h"
#include "lib/report/report.h"

namespace ctriage::report {

struct DriftOptions {
  std::string source;      // what the user typed, for commands that are offered
  bool explained = false;  // the explained changes, one by one
  bool every_gap = false;
  bool quiet = false;  // findings alone: no counts, no gaps
  std::size_t rules = 0;
};

// What list_findings() of the source gave, and what it left behind.
struct DriftFacts {
  std::vector<Finding> findings;  // in their order
  std::uint64_t beyond = 0;       // found and not kept here
  VerdictCounts counts;
  std::vector<ExplainedChanges> reasons;
  std::vector<KeptBack> kept_back;
  std::vector<ExplainedChange> explained;  // where asked for, the first of them
};

// Reads processes and sockets of the source once more, for the second lines of findings.
Result<Outcome> drift_text(Snapshot& snapshot, const DriftFacts& facts, const DriftOptions& options,
                           const Style& style, const Out& out, Task& task);
// "ctriage.drift/1", or lines.
Result<Outcome> drift_json(Snapshot& snapshot, const DriftFacts& facts, const DriftOptions& options,
                           Format format, const Out& out, Task& task);

}  // namespace ctriage::report
