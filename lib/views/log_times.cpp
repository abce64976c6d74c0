#include "lib/views/log_times.h"

namespace ctriage::views {
namespace {

constexpr std::size_t kMaxLogLine = 1 << 20;
constexpr std::size_t kMaxTimeText = 40;

std::optional<Timestamp> parse_time(std::string_view text) {
  Timestamp at;
  if (text.size() > kMaxTimeText || !parse_rfc3339(text, at)) return std::nullopt;
  return at;
}

}  // namespace

std::optional<Timestamp> parse_log_time(std::string_view line) {
  if (!line.starts_with('{')) return parse_time(line.substr(0, line.find(' ')));
  // Docker writes "time" last; in what is logged, every quote has a backslash before it.
  constexpr std::string_view kTime = "\"time\":\"";
  const auto at = line.rfind(kTime);
  if (at == std::string_view::npos || (at > 0 && line[at - 1] == '\\')) return std::nullopt;
  const std::string_view rest = line.substr(at + kTime.size());
  return parse_time(rest.substr(0, rest.find('"')));
}

Result<LogTimes> read_log_times(ByteSource& log) {
  LogTimes times;
  LineReader lines(log, kMaxLogLine);
  std::string_view line;
  for (;;) {
    auto more = lines.next(line);
    if (!more && more.error().code != Errc::limit) return std::move(more).error();
    if (!more) continue;
    if (!*more) return times;
    ++times.lines;
    const auto at = parse_log_time(line);
    if (at && !times.first) times.first = at;
    if (at) times.last = at;
  }
}

}  // namespace ctriage::views
