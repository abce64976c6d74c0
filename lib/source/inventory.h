#pragma once
// Every container of this node with where its running programs come from, quickly: no file is read, paths and
// inodes only.
#include <cstdint>
#include <set>
#include <vector>

#include "lib/source/live.h"

namespace ctriage::source {

struct Listed {
  Container container;
  std::uint64_t processes = 0;
  bool running = false;
  std::set<Origin> runs;
  bool executed_in = false;  // a process was started from outside
};

// In the order of runtime::list_containers. What could not be looked into is a gap and `runs` lacks it.
Result<std::vector<Listed>> list_node(Node& node, Task& task);

}  // namespace ctriage::source
