#pragma once
// What several collectors ask of the node: its engines, its mounts, and since when the pod can have touched
// it.
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lib/collect/collection.h"

namespace ctriage::collect {

// Looked for once in a run. Kubelets and daemons of runtimes that run on the node as root, outside of any
// container. An error only when the task must end or /proc cannot be listed.
Result<std::span<const runtime::EngineProcess>> list_engines(Collection& in);

struct NodeMounts {
  std::vector<Mount> mounts;
  Hex root_device;  // of the mount that is the node's root directory
  // A server would be asked on the way to `path`.
  [[nodiscard]] bool asks_server(std::string_view path) const;
};
Result<NodeMounts> node_mounts(Collection& in);

// When the oldest container of the pod was made: nothing of it can be older.
Timestamp pod_began(const Collection& in);

}  // namespace ctriage::collect
