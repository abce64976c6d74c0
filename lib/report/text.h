#pragma once
// How values look. Text from evidence becomes printable in safe() and nowhere else.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/text.h"
#include "lib/core/values.h"
#include "lib/model/finding.h"
#include "lib/model/process.h"
#include "lib/report/report.h"

namespace ctriage::report {

// escape_terminal, and every blank that stands at an edge or after another as \x20: blanks in a name must not
// move what follows it into another column.
std::string safe(std::string_view raw);
// The same for an argument vector, one blank between arguments. Arguments with blanks or quotes stand in
// double quotes. Stops after about `most` bytes of evidence: vectors may have megabytes.
std::string safe_command(const std::vector<Bytes>& argv, std::size_t most = 512);

// In double quotes, quotes inside as \".
std::string safe_quoted(std::string_view raw);

// Columns that safe UTF-8 takes on a terminal: combining characters none, East Asian wide ones two.
std::size_t display_width(std::string_view text);
// Cut to `width` columns with "..." at the end; `width` 0 is no limit.
std::string fit(std::string_view text, std::size_t width);
std::string pad_right(std::string text, std::size_t width);
std::string pad_left(std::string text, std::size_t width);

// A row of cells under fixed columns. A cell that is too long keeps its text and pushes the rest; the last
// one is cut at the style's width unless `whole`.
struct Column {
  std::string_view title;
  std::size_t width = 0;
  bool right = false;  // aligned
  bool whole = false;  // last column only: never cut
};
std::string table_head(const std::vector<Column>& columns);
std::string table_row(const std::vector<Column>& columns, const std::vector<std::string>& cells,
                      const Style& style);

std::string severity_word(Severity severity);  // "CRIT", "HIGH", "MED", "LOW", "INFO"
std::string painted(Severity severity, std::string text, const Style& style);
std::string from_text(const Executable& exe);  // "image", "UPPER", "DELETED"
std::string user_text(std::uint32_t uid);      // "root", "1000"
// "1.3 s": how long something took, with that many decimals.
std::string seconds_text(std::int64_t ns, int decimals = 1);
std::string mode_text(std::uint32_t mode);     // "4755"
std::string column_size(std::uint64_t bytes);  // "214M", "1.2M", "12K", "0"
std::string short_id(std::string_view id);     // the first 12 characters
std::string clock_seconds(Timestamp at);       // "12:03:07Z"
std::string date_seconds(Timestamp at);        // "2026-11-21 12:03:07Z"
std::string join(const std::vector<std::string>& parts, std::string_view between);

// Names of environment variables whose values overviews hide.
bool is_secret_name(std::string_view name);

constexpr std::size_t kLabelColumns = 10;
// "container " + text, and a line end.
std::string labelled(std::string_view label, std::string_view safe_text);
constexpr std::size_t kFewGaps = 8;
// "gaps      2 lost, 1 note", and below it what they are: a few kinds, or every one.
std::string gaps_block(const GapTally& gaps, bool every, const Style& style);
// The lines below it.
std::string gap_lines(const GapTally& gaps, bool every, const Style& style);
// Commands and what they are for, two to a line where they fit.
std::string next_lines(std::string_view label, const std::vector<std::pair<std::string, std::string>>& hints,
                       const Style& style);

}  // namespace ctriage::report
