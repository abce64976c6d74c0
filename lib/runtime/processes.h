#pragma once
// Processes of container engines: shims and monitors, which have containers, and daemons, which know where
// the records lie. And what every process says of the container it is in.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::runtime {

enum class Role : std::uint8_t {
  shim,
  monitor,
  dockerd,
  containerd,
  other
};  // other: kubelet, crio, k3s, rke2

struct EngineProcess {
  std::int32_t pid = 0;
  Role role = Role::shim;
  std::string name;  // of its program
  std::uint32_t uid = 0;
  Root directory;  // /proc/PID, stays this process
};

// By what cannot be had from inside a container (processes.cpp), ascending by pid. Who is called so and is
// not taken for one is a gap.
Result<std::vector<EngineProcess>> find_engine_processes(const Root& proc, Task& task);

// The arguments of a process of root's. The memory of others' is not read: they can make us wait for ever.
std::vector<std::string> arguments_of(const EngineProcess& process);
// Of the text of /proc/PID/cmdline.
std::vector<std::string> split_arguments(std::string_view cmdline);
// The last value of "--flag VALUE" or "--flag=VALUE"; empty: not there.
std::string value_of(std::span<const std::string> arguments, std::string_view flag);

struct Sighting {  // of one process of the node
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::uint64_t start_ticks = 0;
  std::string container_id;  // the outermost that its cgroup names; empty: none
  std::string engine;        // as the cgroup's name tells; "unknown" with a bare id
  std::string pod_uid;
  std::string cgroup;
};
// Ascending by pid. What ended while we looked is left out.
Result<std::vector<Sighting>> sight_processes(const Root& proc, Task& task);
// Of one /proc/PID/cgroup: fills all but the numbers.
void read_owner(std::string_view cgroup_text, Sighting& into);

}  // namespace ctriage::runtime
