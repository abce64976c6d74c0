#pragma once
// Who runs here, found by looking: the shims' working directories are the OCI bundles, a bundle's `work` link
// names the engine's root; conmon has its bundle's pipes open; a cgroup's name has the container's id. No
// socket, no lock, no fixed path. containerd (CRI, nerdctl, ctr), Docker, Podman, CRI-O.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"

namespace ctriage::runtime {

// An OCI runtime spec (config.json, runtime-spec config.md) as far as a Container needs it. Hostile: SAX,
// limits.
Status parse_spec(std::string_view json, Container& into);

struct Found {
  Container container;
  std::int32_t shim_pid = 0;  // or the monitor's; 0: none
  std::string raw_spec;       // config.json as it is on disk
};

// All containers that `proc` shows, sandboxes included, in order of (pod namespace, pod, sandbox first, name,
// id). A damaged bundle or record is a gap that names the file.
Result<std::vector<Found>> list_containers(const Root& proc, Task& task);
// Of a disk that no kernel runs: what the engines' records in their usual places below `node` tell.
Result<std::vector<Found>> list_on_disk(const Root& node, Task& task);
// Those that have processes, without a look at the records of those that ended: quick enough to be asked
// again and again.
Result<std::vector<Found>> list_running(const Root& proc, Task& task);

}  // namespace ctriage::runtime
