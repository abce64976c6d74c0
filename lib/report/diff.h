#pragma once
// `diff SOURCE`: file changes against the image, one line each, in the order the snapshot gives them.
#include <string>

#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/report/report.h"

namespace ctriage::report {

struct DiffOptions {
  std::string source;  // what the user typed, for the "next" line
  bool all = false;    // runtime stubs and unchanged files too
  bool judge = false;  // evaluate the findings, for --fail-on
  bool every_gap = false;
};

// Errc::unsupported where the source has no changes. The counts line adds up: total = shown + not shown, by
// kind.
Result<Outcome> diff_text(Snapshot& snapshot, const DiffOptions& options, const Style& style, const Out& out,
                          Task& task);
// "ctriage.diff/1", or lines: the source, each change, coverage, gaps. Nothing is left out.
Result<Outcome> diff_json(Snapshot& snapshot, const DiffOptions& options, Format format, const Out& out,
                          Task& task);

}  // namespace ctriage::report
