#pragma once
// `list`: pods and containers of a node, where their running programs come from, what they may do.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/container.h"
#include "lib/model/process.h"
#include "lib/report/report.h"

namespace ctriage::report {

enum class Mark : std::uint8_t { none, powerful, look_now, unverified, ourselves };
constexpr auto enum_names(Mark) {
  return std::array<std::string_view, 5>{"none", "powerful", "look_now", "unverified", "ourselves"};
}

struct ListRow {
  Container container;
  std::optional<std::uint64_t> processes;    // absent: not running, or unknown
  std::optional<std::uint64_t> upper_bytes;  // only with --size
  std::vector<Origin> runs;                  // of the running programs, each once
  bool executed_in = false;                  // a process was started from outside: shown as "exec" in RUNS
  bool ourselves = false;

  // From runs, rights and state: anything but image and unknown is look_now, rights are powerful.
  [[nodiscard]] Mark mark() const;
};

struct ListHead {
  Bytes node;
  std::string machine;
  Bytes engine;   // those that run the rows, "containerd"; empty when nothing was found
  Timestamp now;  // AGE counts back from here
};

struct ListOptions {
  bool all = false;        // plain rows too when there are many; without: the first kMaxPlainRows
  bool sandboxes = false;  // rows of pod sandboxes
  bool size = false;       // the UPPER column
  bool every_gap = false;  // all kinds of gaps, not the first few
};

std::string list_text(const ListHead& head, std::span<const ListRow> rows, std::span<const Gap> gaps,
                      const ListOptions& options, const Style& style);
// "ctriage.list/1", or one "ctriage.container/1" per line and then the gaps, which were noticed at head.now.
// Nothing is left out.
std::string list_json(const ListHead& head, std::span<const ListRow> rows, std::span<const Gap> gaps,
                      Format format);

}  // namespace ctriage::report
