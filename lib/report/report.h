#pragma once
// Artifacts to text for people and JSON for programs. Sees the model only. Callers hand over raw values:
// every text from evidence is escaped here, once, on its way out. The screens are show.h, diff.h, list.h and
// screen.h.
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "lib/core/gap_log.h"
#include "lib/core/result.h"
#include "lib/model/container.h"
#include "lib/model/file.h"
#include "lib/model/finding.h"
#include "lib/model/gap.h"

namespace ctriage::report {

struct Style {
  bool color = false;    // only repeats what a word says
  unsigned width = 120;  // columns of the terminal; below 120 some columns go, never WHAT
};

enum class Format : std::uint8_t { text, json, jsonl };

// Takes finished text: whole lines, already safe for a terminal. An error (EPIPE, full) ends the writing and
// is passed up.
using Out = std::function<Status(std::string_view)>;

// What a view saw on its way, for the exit status (--fail-on; lost evidence makes 3).
struct Outcome {
  std::optional<Severity> worst;  // of the findings it is about; a view that was not asked for them: none
  std::uint64_t lost = 0;         // gaps of impact "lost", those recorded in the source and those of now
};

// "1 critical, 4 high" in bounded memory.
class FindingTally {
 public:
  void add(Severity severity) { ++counts_[static_cast<std::size_t>(severity)]; }
  [[nodiscard]] std::uint64_t total() const;
  [[nodiscard]] std::uint64_t of(Severity severity) const {
    return counts_[static_cast<std::size_t>(severity)];
  }
  [[nodiscard]] std::optional<Severity> worst() const;
  [[nodiscard]] std::string text() const;  // "none" when there is none

 private:
  std::array<std::uint64_t, 5> counts_{};
};

// "412 changes: 3 added, 1 content, 408 metadata".
class ChangeTally {
 public:
  void add(ChangeKind kind) { ++counts_[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] std::uint64_t total() const;
  [[nodiscard]] std::uint64_t of(ChangeKind kind) const { return counts_[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] std::string kinds() const;  // "3 added, 1 content", or nothing
  [[nodiscard]] std::string text() const;

 private:
  std::array<std::uint64_t, enum_names(ChangeKind{}).size()> counts_{};
};

// Gaps grouped by impact, artifact and reason, with counts and the first few origins, in bounded memory.
class GapTally {
 public:
  void add(const GapRecord& gap) { add(gap.impact, gap.artifact, gap.code, gap.origin.raw, gap.reason.raw); }
  void add(const Gap& gap) { add(gap.impact, gap.artifact, gap.error.code, gap.origin, gap.error.what); }
  void add(const GapLog& log);  // what it keeps, and as a number what it only counted
  [[nodiscard]] std::uint64_t count(Impact impact) const { return counts_[static_cast<std::size_t>(impact)]; }
  [[nodiscard]] std::uint64_t total() const;
  [[nodiscard]] std::string text() const;  // "2 lost, 1 degraded, 14 notes"; "none"
  // Worst first, one short line each, escaped; at most `most`, then a line that says how many more.
  [[nodiscard]] std::vector<std::string> lines(std::size_t most) const;

 private:
  struct Group {
    std::uint64_t count = 0;
    std::vector<std::string> origins;  // the first few
    std::string reason;                // the first
  };
  void add(Impact impact, std::string_view artifact, Errc code, std::string_view origin,
           std::string_view reason);

  std::array<std::uint64_t, 3> counts_{};
  std::map<std::tuple<int, std::string, Errc>, Group> groups_;
  std::uint64_t beyond_ = 0;   // of groups that found no room
  std::uint64_t counted_ = 0;  // of which there is a number and no more
};

// A gap that reading just now gave, as views write it beside those recorded in the source.
GapRecord record_of(const Gap& gap, Timestamp at);
std::vector<GapRecord> records_of(std::span<const Gap> gaps, Timestamp at);

// "shop/web-7d9f/app", or the container's name or short id. Raw: escape before printing.
std::string container_name(const Container& container);

}  // namespace ctriage::report
