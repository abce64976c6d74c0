#pragma once
// The directories that the bundles of containerd's shims lie in.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/runtime/processes.h"

namespace ctriage::runtime {

// All bundles of one namespace of one containerd: <state>/io.containerd.runtime.v2.task/<namespace>.
struct BundleSet {
  Root directory;
  Root node;          // the shim's root: paths of the node begin here
  FileInfo identity;  // of `directory`
  std::string path;   // of `directory` on the node
  std::string engine_namespace;
  std::map<std::string, std::int32_t> shims;  // id of the bundle that a shim works in -> its pid
};

// In the order of the shims' pids. A shim without a bundle is a gap.
Result<std::vector<BundleSet>> find_bundle_sets(const std::vector<EngineProcess>& processes, Task& task);

// ".../io.containerd.runtime.v2.task/NAMESPACE/ID" taken apart; false for any other path.
struct BundlePath {
  std::string before;  // what comes before /io.containerd.runtime.v2.task
  std::string engine_namespace;
  std::string id;
};
bool parse_bundle_path(std::string_view path, BundlePath& into);
// What containerd allows in an identifier (pkg/identifiers), so that it can be used as text everywhere.
bool is_identifier(std::string_view text);

}  // namespace ctriage::runtime
