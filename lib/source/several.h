#pragma once
// What a person means by -l or --all-pods: several targets, each of which is then opened in a process of its
// own.
#include <string>
#include <vector>

#include "lib/core/child.h"
#include "lib/core/task.h"
#include "lib/source/target.h"

namespace ctriage::source {

struct Target {
  TargetQuery query;  // resolves to this one, whatever else is there
  std::string name;   // as it resolved
};

struct Targets {
  std::vector<Target> targets;
  std::vector<std::string> left_out;  // and why: our own container, those that have ended
};

struct SeveralQuery {
  TargetQuery query;      // without a token
  bool all_pods = false;  // what runs, but for our own container; else all that has the labels
};

// Asks a process of its own, which looks at the node, or at the disk that query.root is, so that this one has
// given up nothing. Its gaps reach `task`.
Result<Targets> find_targets(const SeveralQuery& query, sys::Handler on_stop, Task& task);

}  // namespace ctriage::source
