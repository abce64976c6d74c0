#pragma once
// The time that begins a line of a container log.
//   CRI, kubelet and CRI-O:  2016-10-06T00:17:09.669794202Z stdout F text
//   Docker's json-file:      {"log":"text\n","stream":"stdout","time":"2019-01-01T11:11:11.111111111Z"}
//   Podman's k8s-file:       as CRI, with an offset
#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/core/stream.h"
#include "lib/core/values.h"

namespace ctriage::views {

// Nothing where the line is of neither form.
std::optional<Timestamp> parse_log_time(std::string_view line);

struct LogTimes {
  std::optional<Timestamp> first;
  std::optional<Timestamp> last;
  std::uint64_t lines = 0;
};
// Of the whole log, read once. Errors are those of the source; a line over 1 MiB is passed over.
Result<LogTimes> read_log_times(ByteSource& log);

}  // namespace ctriage::views
