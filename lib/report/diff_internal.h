#pragma once
#include <string>

#include "lib/model/file.h"
#include "lib/model/snapshot.h"
#include "lib/report/report.h"

namespace ctriage::report {

// "mode 0755 -> 4755, owner 0:0 -> 1000:1000": what differs, or what was added. Safe.
std::string change_details(const FileChange& change);
// Before and after side by side, a field a line. Safe.
std::string change_block(const FileChange& change);

// Errc::unsupported where the source has no changes.
Status has_changes(const Snapshot& snapshot);

}  // namespace ctriage::report
