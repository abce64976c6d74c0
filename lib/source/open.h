#pragma once
// What turns a token into a Snapshot, for every view.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/snapshot.h"
#include "lib/rules/rules.h"
#include "lib/source/live/live.h"
#include "lib/source/target.h"

namespace ctriage::source {

// A path is a bundle, packed, unpacked or .part, or a checkpoint, told apart by content; "pid:N" a process;
// else a name that both live targets and files of this directory are tried for: two hits are Errc::mismatch.
// Of a bundle and a checkpoint, too, -c leaves that container alone; Errc::not_found names those there are.
// `rules`, if there are any, make the findings (lib/verdict/verdict.h), of a bundle beyond those it has.
// Hostile formats are parsed in the sandbox, which stays for good; `writable`: a directory that may be
// written to from inside, -1 for none.
Result<std::unique_ptr<Snapshot>> open_source(const TargetQuery& query, rules::RuleSet rules, Task& task,
                                              int writable = -1);

// The live half of it, for dump.
Result<std::unique_ptr<LiveSnapshot>> open_live(const TargetQuery& query, Task& task);

struct HoldOptions {
  std::size_t share = 1;  // as Node::share
  // As soon as a container of the target runs: at once, or when it starts within that time.
  std::optional<std::int64_t> wait_s = {};
};
// For collect. What would be gone with the target is held before anything is read. Where something runs,
// LiveSnapshot::add_ended() is the caller's, when what is gone with a process is read: clones of layers are
// forbidden by it. All of the target may have ended, of a disk all has.
Result<std::unique_ptr<LiveSnapshot>> open_held(const TargetQuery& query, const HoldOptions& options,
                                                Task& task);

// The / of the node that a live source or a disk is of. Errc::unsupported: other sources have none.
Result<Root> node_root_of(Snapshot& snapshot);

// The bundle file itself, for verify: a seekable descriptor or standard input for "-".
Result<UniqueFd> open_file(const std::string& path);

}  // namespace ctriage::source
