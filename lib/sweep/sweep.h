#pragma once
// One container beside the others of its node. `look` is for the process that has a target open, `compare`
// for the one that hears of all: what containers share, and which replica is not like its siblings.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/task.h"
#include "lib/model/snapshot.h"
#include "lib/model/sweep.h"
#include "lib/rules/rules.h"
#include "lib/sweep/indicators.h"

namespace ctriage::sweep {

constexpr std::size_t kMaxFindings = 50;    // of a container: the worst; the rest is counted
constexpr std::size_t kMaxPrograms = 512;   // of a container; more are a gap
constexpr std::size_t kMaxAddresses = 512;  // peers of a container, and what it listens on; more are a gap
constexpr std::size_t kMaxMatches = 1'000;  // of a container; more are a gap

// What runs in the containers of a source, what rules name there, which indicators they have: hashes of
// programs and changed files, addresses of sockets, paths of programs, changed and open files, texts in the
// memory of all processes. Sandboxes with nothing to say are left out.
Result<SweptTarget> look(Snapshot& snapshot, const Indicators& indicators, Task& task);

// The worst first: by severity and number of findings, with an indicator before all.
void rank(std::vector<SweptTarget>& targets);

// Programs that are not the image's, and peers, of containers of more than one target. What runs on most of
// them is a sidecar's business: shared by more than half of four or more targets it is left out.
std::vector<SharedThing> find_shared(const std::vector<SweptTarget>& targets);

// Containers of one image, owner and name of which one runs or listens to what fewer than half of them do. Of
// two nobody can say which is the odd one.
std::vector<Replica> find_odd_replicas(const std::vector<SweptTarget>& targets);

// "web-7d9f8c6b5" of "web-7d9f8c6b5-x2x4q", "db" of "db-0", "node-agent" of "node-agent-lq2vx": a pod's name
// without what Deployments, StatefulSets, DaemonSets and Jobs put behind it.
std::string owner_of_pod(const std::string& pod);

}  // namespace ctriage::sweep
