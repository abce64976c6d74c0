#pragma once
// Whether a freezer does what it says: tried on a process of ours.
#include "lib/core/root.h"
#include "lib/proc/freezer.h"

namespace ctriage::source {

// Makes a cgroup below the top of a hierarchy, puts a child of ours into it, freezes it, lets it go, and
// takes both away again. Done: it stood still, and went on.
Status try_freezer(const Root& hierarchy, proc::SwitchKind kind);

}  // namespace ctriage::source
