#pragma once
// One thing that happened at one time, as `timeline` shows it.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class EventKind : std::uint8_t {
  process,
  exec,
  file,
  layer,
  node,
  log,
  container,
  source,
  custody,
  finding
};
constexpr auto enum_names(EventKind) {
  return std::array<std::string_view, 10>{"process", "exec",      "file",   "layer",   "node",
                                          "log",     "container", "source", "custody", "finding"};
}

struct Event {
  Timestamp at;
  EventKind kind = EventKind::file;
  std::string what;
  Bytes message;
  std::string container;
  std::optional<std::int32_t> pid;
  std::optional<Bytes> path;
  std::optional<std::string> sha256;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("at", self.at, "when, with --skew added");
    v("kind", self.kind, "what kind of evidence tells it");
    v("what", self.what,
      "started, ended, created, first line, ...; of a file which of its times: any of modified, accessed, "
      "changed, born");
    v("message", self.message, "in one line");
    v("container", self.container, "container id; empty: of none");
    v("pid", self.pid, "of a process");
    v("path", self.path, "of a file, program or log");
    v("sha256", self.sha256, "of a file or program, where known");
  }
};

template <>
inline constexpr std::string_view kKind<Event> = "event";

}  // namespace ctriage
