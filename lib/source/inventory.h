#pragma once
// Every container of this node with where its running programs come from, quickly: no file is read, paths and
// inodes only.
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "lib/source/live/live.h"

namespace ctriage::source {

struct Listed {
  Container container;
  std::uint64_t processes = 0;
  bool running = false;
  bool ourselves = false;  // the container that we are in
  std::set<Origin> runs;
  std::optional<std::uint64_t> upper_bytes;  // that the UpperDir's files take on the disk
  bool executed_in = false;                  // a process was started from outside
};

struct ListQuery {
  std::vector<std::string> labels = {};  // only those of them, and of pods of them: TargetQuery::labels
  bool size = false;                     // fill upper_bytes
};

// Of a disk that nothing runs on, mounted at a directory: the records, no layers.
Result<std::vector<Listed>> list_disk(const Root& disk, const ListQuery& query, Task& task);

// In the order of runtime::list_containers. What could not be looked into is a gap and `runs` lacks it.
Result<std::vector<Listed>> list_node(Node& node, const ListQuery& query, Task& task);

}  // namespace ctriage::source
