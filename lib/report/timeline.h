#pragma once
// `timeline` in the forms that people and other tools read. One event is one line in each: line ends in names
// are escaped. Times are UTC.
//   text, jsonl, csv: ours. jsonl: ctriage.event/1
//   timesketch: JSON lines with its message, datetime and timestamp_desc
//   ecs: Elastic Common Schema 8 as JSON lines
//   bodyfile: The Sleuth Kit 3, MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime, whole seconds; the
//     MD5 is 0: not known. What is no file is a line whose name begins with a bracket, with its time in all
//     four places.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "lib/model/event.h"
#include "lib/model/file.h"
#include "lib/report/report.h"

namespace ctriage::report {

enum class TimelineForm : std::uint8_t { text, jsonl, csv, timesketch, ecs, bodyfile };
constexpr auto enum_names(TimelineForm) {
  return std::array<std::string_view, 6>{"text", "jsonl", "csv", "timesketch", "ecs", "bodyfile"};
}

using ContainerNames = std::map<std::string, std::string>;  // by id

std::string timeline_head(TimelineForm form);  // of csv, else empty
std::string timeline_line(TimelineForm form, const Event& event, const ContainerNames& names);
// Of the form bodyfile. `skew_s` is added to each time that is there.
std::string bodyfile_line(const Bytes& path, const FileState& file, const std::string& container,
                          std::int64_t skew_s);
// One field of RFC 4180, escaped to be one line; what a spreadsheet would take for a formula gets a quote.
std::string csv_field(std::string_view raw);

}  // namespace ctriage::report
