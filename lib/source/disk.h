#pragma once
// The file system of a node, whether the node runs or not.
#include <string>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/core/values.h"

namespace ctriage::source {

struct Disk {
  Root root;
  Bytes name;  // of the node, else where the disk is mounted
};

// A disk that nothing runs on, mounted at `directory`. Enters the sandbox, in which clones of layers may be
// made until forbid_clones().
Result<Disk> open_disk(const std::string& directory, Task& task);

// PRETTY_NAME of /etc/os-release, or nothing.
Bytes os_name(const Root& node);

}  // namespace ctriage::source
