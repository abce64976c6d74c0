#pragma once
// What Docker keeps of a container, in <data root>/containers/<id>/config.v2.json:
//
//   {ID, Name: "/web", Created, Path, Args, Config: {Image, Labels, ...}, Image: "sha256:...", ImageManifest:
//    {digest}, State: {Running, Paused, Pid, ExitCode, StartedAt, FinishedAt}, LogPath, RestartCount, ...}
//
// moby daemon/container/container.go. The data root is a directory above the container's root file system,
// whatever the storage driver, else what dockerd was told, else the default.
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/runtime.h"

namespace ctriage::runtime {

// Fills what the record says over what a bundle may have said. The state is taken where it is unknown yet.
Status parse_docker_record(std::string_view json, Container& into);
// "data-root" of daemon.json, or nothing.
Result<std::string> parse_daemon_config(std::string_view json);

// Where a container of Docker's may have its record, each data root once, the likeliest first.
class DockerRoots {
 public:
  DockerRoots(const std::vector<EngineProcess>& processes, Task& task);
  DockerRoots(const Root& disk, Task& task);  // by the configuration there
  // Those of the daemons that run, and the default.
  [[nodiscard]] const std::vector<std::string>& known() const { return known_; }

 private:
  std::vector<std::string> known_;
};

// Completes a container of containerd's namespace "moby". `node`: the shim's root.
void complete_docker(const Root& node, const DockerRoots& roots, Found& into, Task& task);

}  // namespace ctriage::runtime
