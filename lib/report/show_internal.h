#pragma once
// What the parts of `show` share: slim copies of processes for the tree, and blocks of text about one thing.
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/snapshot.h"
#include "lib/report/show.h"

namespace ctriage::report {

constexpr std::size_t kMaxTreeProcesses = 20'000;  // kept for one tree; the rest are counted

struct TreeProcess {  // what the tree needs of a process: an environment may have megabytes
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::uint32_t uid = 0;
  std::uint64_t rss_bytes = 0;
  std::string from;
  std::string command;               // safe
  std::vector<std::string> remarks;  // safe
};

struct Tree {
  std::vector<TreeProcess> processes;
  std::uint64_t total = 0;
  std::uint64_t threads = 0;
  std::uint64_t memory_bytes = 0;

  void add(const Process& process);
};

// The lines of the tree with its heading, children below their parents in order of pid.
std::string tree_text(const Tree& tree, const Style& style);

// Sockets of one container: counts for one line, and what each process listens on or talks to.
struct SocketSummary {
  std::map<std::string, std::uint64_t> counts;                      // "listen" -> 2
  std::map<std::int32_t, std::vector<std::string>> remarks_by_pid;  // the first few, safe

  void add(const Socket& socket);
  [[nodiscard]] std::string text() const;
};

// What the source has of everything, with the gaps recorded in it.
std::string coverage_text(const Snapshot& snapshot, const GapTally& gaps, bool every_gap, const Style& style);
// What is missing, for the end of every view: the gaps recorded in the source, and those that reading it just
// now gave.
Result<GapTally> gaps_of(Snapshot& snapshot, Task& task);
// Counts the findings of a source that are not listed by the view. Nothing where it was not asked for, or
// where the source has none.
Result<FindingTally> judge(Snapshot& snapshot, bool asked, Task& task);
// `next` with {source} filled in, for a view of `source`.
Finding with_source(Finding finding, std::string_view source);
// "F1  CRIT  12:05:31Z  what", and the finding's next command.
std::string finding_line(const Finding& finding, const Style& style);

Status show_overview(Snapshot& snapshot, const ShowOptions& options, const Style& style, const Out& out,
                     Task& task, Outcome& outcome);
Status show_sections(Snapshot& snapshot, const Container& container, const ShowOptions& options,
                     const Style& style, const Out& out, Task& task);

// The finding with that id or key. Errc::not_found names the ids there are.
Result<Finding> find_finding(Snapshot& snapshot, std::string_view finding, Task& task);
// Everything about one process, a field a line, safe.
std::string process_block(const Process& process, const Style& style);
// Rows of the section tables, for `show F1` too.
std::string descriptor_row(const Descriptor& descriptor, const Style& style);
std::string socket_row(const Socket& socket, const Style& style);
std::string mapping_row(const Mapping& mapping, const Style& style);
// Signals that the process blocks, ignores and catches, and its timers, safe.
std::vector<std::string> signal_lines(const Process& process);
// A seccomp filter, what it answers and its program, lines; `pids`: who has it, `same_as`: the filter that
// has the same program and was shown, if there is one.
std::string filter_block(const SeccompFilter& filter, const std::set<std::int32_t>& pids,
                         std::optional<std::uint32_t> same_as, const Style& style);
// Below the row of a descriptor: what it watches, lines.
std::string watch_lines(const Descriptor& descriptor);

// Where a container's first process is not what the specification says. Arguments and environment of a
// process are its own memory: it may have written over them.
struct SpecDifference {
  bool arguments = false;
  std::vector<Bytes> added, changed, missing;  // NAME=value; the value of `changed` is the process's
};
SpecDifference against_spec(const Container& container, const Process& init);
// One line, or nothing; names only.
std::string difference_line(const SpecDifference& difference);
std::string difference_block(const SpecDifference& difference, const Container& container,
                             const Process& init);
std::string descriptor_head();
std::string socket_head();
std::string mapping_head();

}  // namespace ctriage::report
