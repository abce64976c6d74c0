#pragma once
// What `dump` says: ctriage.dump/1, or text.
#include <string>

#include "lib/model/memory.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string dump_json(const DumpResult& result);
std::string dump_text(const DumpResult& result, bool every_gap, const Style& style);

}  // namespace ctriage::report
