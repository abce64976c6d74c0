#pragma once
// One bundle of containerd, and the process that runs it.
#include <optional>
#include <string>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/runtime/init.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"

namespace ctriage::runtime {

// <set>/<id>: spec, engine root, times. What is damaged is a gap and left out; nothing at all only when the
// bundle is gone or no directory.
std::optional<Found> read_bundle(const BundleSet& set, const std::string& id, Task& task);

// config.json of an open bundle that lies at `path`. What is damaged is a gap; an error when it is not there.
Status read_spec(const Root& bundle, const std::string& path, Found& into, Task& task);

// root.path of the spec, which is relative to the bundle in containerd's own.
std::string absolute_root(const Container& container);

// What /proc says of the bundle's init.pid: state, start time, shim, host namespaces.
void read_init(const Root& proc, const BundleSet& set, const NodeFacts& node, Found& into, Task& task);

}  // namespace ctriage::runtime
