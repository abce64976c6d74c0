#pragma once
// What of a source deserves a look, by the rules: every artifact is held against the others of its container
// and against the image (SEMANTICS.md), and what was noticed stands beside it as `seen.*`. The same over a
// live container, a disk, a checkpoint and a bundle.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/rules/rules.h"

namespace ctriage::verdict {

constexpr std::size_t kMaxProcessesKept = 20'000;   // of one container; those beyond have no parents here
constexpr std::size_t kMaxKeptTextBytes = 8 << 20;  // of their arguments and paths
constexpr std::size_t kMaxMountsKept = 20'000;
constexpr std::size_t kMaxRecordedFindings = 100'000;  // of a bundle

struct Tally {  // file changes: seen = named + explained + other
  std::uint64_t changes = 0;
  std::uint64_t named = 0;                         // by a rule, whatever its severity
  std::map<std::string, std::uint64_t> explained;  // reason -> how many
  std::uint64_t other = 0;                         // neither: plain data
  std::vector<rules::Suppressed> suppressed = {};  // entries that met something, expired ones too
  std::uint64_t known_good = 0;                    // findings about files that somebody vouches for
};

using EmitExplained = std::function<Status(const FileChange& change, const std::string& reason)>;

// Code of a file that is other bytes in memory than in the file.
struct PatchedCode {
  Mapping mapping;                 // of one process that has it
  std::vector<std::int32_t> pids;  // all of them
  std::uint64_t bytes = 0;         // that differ
  std::uint64_t first_offset = 0;  // in the file, of the first of them
  std::string was;                 // hexadecimal, in the file and in memory: the first of them
  std::string is;
  bool breakpoints = false;  // nothing but single breakpoint instructions, as uprobes and debuggers set
};
// Of the processes of a container. None: this source does not tell.
using ListPatchedCode =
    std::function<Status(const std::string& container, const Emit<PatchedCode>& emit, Task& task)>;

struct Options {
  EmitExplained explained = nullptr;  // none: they are only counted
  bool node = true;                   // what of the node changed, too: the same for all pods of it
  ListPatchedCode patched = nullptr;
};

// Findings of processes, mappings, sockets, mounts and changes, container by container, numbered in that
// order. Of a bundle those recorded in it come first, with the numbers they have, and then what the rules
// find beyond them. What this source does not cover is left out in silence: covers() tells. An error is
// that of the source or of `emit`.
Status judge(Snapshot& snapshot, const rules::RuleSet& rules, const Options& options,
             const Emit<Finding>& emit, Tally& tally, Task& task);

// The same source with these findings: list_findings() is judge(). `patched` may refer to `snapshot`.
std::unique_ptr<Snapshot> judged(std::unique_ptr<Snapshot> snapshot, rules::RuleSet rules,
                                 ListPatchedCode patched = nullptr);

// How a judged source judges, and what its last list_findings() counted.
struct Judging {
  Options options;
  Tally tally;
};
// What it was made of; of what judged() did not make itself.
Snapshot& source_of(Snapshot& snapshot);
// None: it was not made by judged().
Judging* judging_of(Snapshot& snapshot);

}  // namespace ctriage::verdict
