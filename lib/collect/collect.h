#pragma once
// The triage: everything a table of collectors knows how to take from a live snapshot, in order of
// volatility, into one bundle.
//
//   hold      open what would be gone with the container; read nothing yet
//   1 state   processes, sockets, mounts, ... ; synced, its digest told; findings so far
//   2 files   programs that are not in the image, then the UpperDir
//   3 logs
//   ending    findings, gaps, custody, SUMMARY.txt, seal
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/writer.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/rules/rules.h"
#include "lib/source/live.h"

namespace ctriage::collect {

enum class Compression : std::uint8_t { zstd, none };

struct Options {
  std::string tool;                       // name and version, for bundle.json
  std::vector<std::string> command_line;  // as typed, for bundle.json
  Compression compression = Compression::zstd;
  unsigned workers = 2;
  std::uint64_t max_bytes = UINT64_MAX;  // of the bundle
};

struct Counts {
  std::uint64_t containers = 0;
  std::uint64_t processes = 0;
  std::uint64_t sockets = 0;
  std::uint64_t changes = 0;
  std::uint64_t layers_unread = 0;  // containers whose changes cannot be known
  std::uint64_t programs = 0;       // taken because they are not in the image
  std::uint64_t logs = 0;
  std::uint64_t findings = 0;
};

struct PhaseEnd {
  unsigned number = 0;
  std::string name;
  std::int64_t took_ns = 0;
  std::string text;              // "9 processes, 31 sockets"
  std::optional<Digest> digest;  // of the bundle's bytes so far; the state phase has one
};

struct Summary {
  std::string path;        // of the bundle, relative to the output directory
  std::string not_sealed;  // why it is still NAME.part, else empty
  std::uint64_t size_bytes = 0;
  Digest manifest_digest{};
  Counts counts;
  source::HoldCounts held;
  std::int64_t took_ns = 0;
  std::int64_t cpu_ns = 0;
  std::int64_t state_ns = 0;  // from the start until the state was synced
  std::int64_t hold_ns = 0;
  std::int64_t resident_growth_bytes = 0;  // of the members that were there before and after
  std::uint64_t degraded = 0;              // gaps, all that were counted
  std::uint64_t notes = 0;
  std::uint64_t lost = 0;  // gaps of impact "lost", failures of the ending included
};

// Who is told while it runs. lib/collect knows no terminal.
struct Progress {
  virtual ~Progress() = default;
  virtual void held(const source::HoldCounts& counts, Timestamp at) = 0;
  virtual void phase_ended(const PhaseEnd& phase) = 0;
  virtual void found(const Finding& finding) = 0;
  virtual void changed(ChangeKind kind) = 0;
  virtual void gap(const Gap& gap) = 0;
  // The text of SUMMARY.txt: what is known before the seal.
  virtual std::string summary_text(const Summary& summary) = 0;
};

struct Collector {
  std::string_view name;   // "processes"
  std::string_view group;  // "state", "files", "logs": what --only and --skip will name
  std::string_view what;   // one line for people
  Status (*take)(class Collection& collection);
};
// In the order they run: the most volatile first.
std::span<const Collector> collectors();

// Takes it all into `directory`. An error only when there is no bundle: what could not be taken is a gap. The
// gaps that `task` has kept so far go into the bundle first; those of the run reach it and `progress` as they
// come.
Result<Summary> collect(source::LiveSnapshot& snapshot, const Root& directory, rules::Engine& engine,
                        const Options& options, Progress& progress, Task& task);

// NAME of the bundle: <node>_<pod or container>_<time>, parts made safe by bundle::member_name.
std::string bundle_name(const Source& source, const source::LiveSnapshot& snapshot);

}  // namespace ctriage::collect
