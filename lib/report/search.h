#pragma once
// What `search` and `strings` say: ctriage.search/1 and ctriage.strings/1, lines, or text.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/search.h"
#include "lib/report/report.h"

namespace ctriage::report {

struct SearchEnd {
  SearchSummary summary;
  std::vector<GapRecord> gaps;
};

struct SearchOptions {
  Format format = Format::text;
  Style style;
  bool every_gap = false;
  bool many_patterns = false;  // then each match says which it is of
  std::map<std::string, std::string> containers =
      {};  // names by id, where there are several: each row has it
};

// `run` finds and hands over; `end` is asked when it is done. An error of either comes back.
Status search_report(const std::function<Status(const Emit<MemoryMatch>&)>& run,
                     const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out);
Status strings_report(const std::function<Status(const Emit<FoundString>&)>& run,
                      const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out);

}  // namespace ctriage::report
