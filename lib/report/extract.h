#pragma once
// What `extract` says: ctriage.extract/1, or text.
#include <string>

#include "lib/model/object.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string extract_json(const ExtractResult& result);
std::string extract_text(const ExtractResult& result, bool every_gap, const Style& style);

}  // namespace ctriage::report
