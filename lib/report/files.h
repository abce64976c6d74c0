#pragma once
// `ls SOURCE:/path`.
#include <string>

#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/report/report.h"

namespace ctriage::report {

// One line per file: mode, owner, size, time of the content, layer, name and where a link leads.
Result<Outcome> ls_text(Snapshot& snapshot, const FileKey& key, bool every_gap, const Style& style,
                        const Out& out, Task& task);
// "ctriage.ls/1", or one "ctriage.file/1" per line and then the gaps.
Result<Outcome> ls_json(Snapshot& snapshot, const FileKey& key, Format format, const Out& out, Task& task);

}  // namespace ctriage::report
