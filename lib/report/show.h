#pragma once
// `show SOURCE`, its sections, and `show SOURCE F1`. Works on every Snapshot.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/task.h"
#include "lib/model/event.h"
#include "lib/model/snapshot.h"
#include "lib/report/report.h"

namespace ctriage::report {

constexpr std::int64_t kAroundSeconds = 300;

struct ShowOptions {
  std::string source;  // what the user typed, for the "next" lines
  bool processes = false;
  bool threads = false;
  bool files = false;
  bool sockets = false;
  bool mounts = false;
  bool environment = false;
  bool maps = false;
  bool security = false;
  bool all = false;                 // every section
  std::optional<std::int32_t> pid;  // narrows everything to this process; without a section: all of them
  std::string container;            // of that pid, by id; empty: of any
  bool judge = false;               // evaluate the findings where the view does not list them, for --fail-on
  bool every_gap = false;           // all kinds of gaps, not the first few
  // For show_finding: what happened kAroundSeconds before its time and as long after it, in order.
  std::function<Status(Timestamp at, const Emit<Event>& emit, Task& task)> around = nullptr;

  using Section = bool ShowOptions::*;
  [[nodiscard]] bool names_a_section() const {
    return processes || threads || files || sockets || mounts || environment || maps || security;
  }
  [[nodiscard]] bool overview() const { return !names_a_section() && !all && !pid; }
  // wants(&ShowOptions::maps). Mounts are no part of one process: of it they have to be named.
  [[nodiscard]] bool wants(Section section) const {
    const bool everything = !names_a_section() && (all || pid);
    return this->*section || ((all || everything) && !(pid && section == &ShowOptions::mounts));
  }
};

// Without a section the overview, else the sections asked for. Errc::not_found when no process has the pid.
Result<Outcome> show_text(Snapshot& snapshot, const ShowOptions& options, const Style& style, const Out& out,
                          Task& task);
// One document "ctriage.show/1" (Format::json), or lines, each with its schema first (Format::jsonl): the
// source, the artifacts, coverage, gaps. Without a section: everything but threads, mappings and descriptors.
Result<Outcome> show_json(Snapshot& snapshot, const ShowOptions& options, Format format, const Out& out,
                          Task& task);

// Everything around a finding, by its id (F1) or key. Errc::not_found when there is none, with the ids there
// are. As JSON "ctriage.show_finding/1".
Result<Outcome> show_finding_text(Snapshot& snapshot, std::string_view finding, const ShowOptions& options,
                                  const Style& style, const Out& out, Task& task);
Result<Outcome> show_finding_json(Snapshot& snapshot, std::string_view finding, const ShowOptions& options,
                                  Format format, const Out& out, Task& task);

}  // namespace ctriage::report
