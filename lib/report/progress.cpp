#include "lib/report/progress.h"

#include "lib/core/text.h"

namespace ctriage::report {
namespace {

constexpr std::string_view kWipe = "\r\x1b[K";

}  // namespace

void ProgressLine::draw(const Meter& meter) {
  const std::int64_t now_ns = clock_();
  if (now_ns < next_ns_) return;
  next_ns_ = now_ns + kEveryNs;
  std::string line = std::string(kWipe) + human_duration((now_ns - began_ns_) / kEveryNs) + " ...";
  if (meter.entries > 0) line += " " + counted(meter.entries, "file", "files");
  if (meter.bytes > 0) line += (meter.entries > 0 ? ", " : " ") + human_size(meter.bytes);
  drawn_ = true;
  write_(line);
}

void ProgressLine::clear() {
  if (drawn_) write_(kWipe);
  drawn_ = false;
}

}  // namespace ctriage::report
