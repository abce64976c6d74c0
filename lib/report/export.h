#pragma once
// What `export` says: ctriage.export/1, or text.
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/outcome.h"
#include "lib/model/transfer.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string export_json(const ExportResult& result, Format format);
// `again`: the command that sends what is missing.
std::string export_text(const ExportResult& result, std::string_view again, const Style& style);
// ctriage.collect/1 with `destinations`.
std::string collect_sent_json(const CollectResult& result,
                              const std::vector<ExportDestination>& destinations);
// One line of a destination, not escaped yet, for `collect --to` too.
std::string destination_text(const ExportDestination& destination);

}  // namespace ctriage::report
