#pragma once
// What `scan` says: ctriage.scan/1, lines, or text.
#include <functional>

#include "lib/core/task.h"
#include "lib/model/yara.h"
#include "lib/report/search.h"

namespace ctriage::report {

// `run` finds and hands over; `end` is asked when it is done. An error of either comes back.
Status scan_report(const std::function<Status(const Emit<YaraMatch>&)>& run,
                   const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out);

}  // namespace ctriage::report
