#pragma once
// A gap on its way into gaps.jsonl and reports. lib/core's Gap is what code adds; this is the record of it.
#include <array>
#include <cstdint>
#include <string>

#include "lib/core/gap_log.h"
#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

constexpr auto enum_names(Impact) { return std::array<std::string_view, 3>{"note", "degraded", "lost"}; }
constexpr auto enum_names(Errc) {
  return std::array<std::string_view, 14>{"not_found",   "denied",   "io",       "truncated", "malformed",
                                          "unsupported", "limit",    "vanished", "changed",   "timeout",
                                          "stopped",     "mismatch", "full",     "outside"};
}

struct GapRecord {
  Impact impact = Impact::lost;
  std::string artifact;
  Bytes origin;
  Errc code = Errc::io;
  Bytes reason;
  Timestamp at;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("impact", self.impact,
      "note: by plan or not knowable; degraded: weaker than it looks; lost: evidence is missing");
    v("artifact", self.artifact, "what kind of evidence: stable key");
    v("origin", self.origin, "which one: the way to the byte");
    v("code", self.code, "why, for programs");
    v("reason", self.reason, "why, for people");
    v("at", self.at, "when we noticed");
  }
};

}  // namespace ctriage
