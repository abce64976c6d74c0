#pragma once
// Plain trees of a live container, its tmpfs and volumes, as tree_file records.
#include <string>
#include <string_view>

#include "lib/model/tree.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

// What the top of a tree is called, whose mount point may be one file.
std::string top_of(const std::string& mountpoint, bool directory);
// A path of the tree as one of the container. `mount`: what the tree's top is called there.
std::string in_container(const std::string& mount, const std::string& path);
TreeFile tree_file_of(FileChange&& change, const std::string& mount);
// Whether something that is told elsewhere is mounted at this path of a tmpfs. What was mounted over it from
// inside hides a part of it: a lost gap.
bool is_known_in_tmpfs(const LiveContainer& live, const HeldTmpfs& held, std::string_view below, Task& task);
// When the container began, less what the clock of ticks is wrong by.
Timestamp start_of(const Node& node, const Container& container);

// All of its tmpfs; of its volumes all, and of those that are the node itself what is newer than the
// container. Contents are hashed and let go. After hold() and find_volumes().
Status list_trees(LiveSnapshot& snapshot, LiveContainer& live, const Emit<TreeFile>& emit, Task& task);

}  // namespace ctriage::source
