#pragma once
// What on the node a container that broke out may have left: files newer than the pod in places that the node
// trusts, settings of the kernel that name a program, processes that are hidden.
#include <span>
#include <string_view>
#include <vector>

#include "lib/source/live/live.h"
#include "lib/source/live/watched.h"

namespace ctriage::source {

struct NodeMounts {
  std::vector<Mount> mounts;
  Hex root_device;  // of the mount that is the node's root directory
  // A server would be asked on the way to `path`.
  [[nodiscard]] bool asks_server(std::string_view path) const;
};
Result<NodeMounts> node_mounts(const Node& node, Task& task);

// When the oldest container of the pod was made: nothing of it can be older.
Timestamp pod_began(const Node& node, std::span<const LiveContainer> containers);

// Settings first, files in the order of their places; with the bytes of those that are small.
Status list_node_facts(const Node& node, std::span<const LiveContainer> containers,
                       const Emit<NewerFile>& emit, Task& task);

}  // namespace ctriage::source
