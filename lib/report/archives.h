#pragma once
// `list DIR`: the checkpoints and bundles that lie there.
#include <string>

#include "lib/model/archive.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string archives_text(const ArchiveList& list, bool every_gap, const Style& style);
// "ctriage.list_archives/1", or one "ctriage.archive/1" per line and then the gaps.
Status archives_json(const ArchiveList& list, Format format, const Out& out);

}  // namespace ctriage::report
