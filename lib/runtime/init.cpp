#include "lib/runtime/init.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::runtime {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kShared{
    {{"pid", "hostPID"}, {"net", "hostNetwork"}, {"ipc", "hostIPC"}}};

void gap(Task& task, Impact impact, const InitPid& said, Error error) {
  task.gaps.add({impact, "runtime.init", said.origin, std::move(error).within(said.origin)});
}

// The last component of a cgroup path names the container: "<id>", "cri-containerd-<id>.scope", or one above
// it, where the container made groups of its own.
bool names_container(std::string_view path, std::string_view id) {
  for (std::string_view part : split(path, '/')) {
    if (part.ends_with(".scope")) part.remove_suffix(6);
    if (part == id) return true;
    if (part.size() > id.size() && part.ends_with(id)) {
      const char before = part[part.size() - id.size() - 1];
      if (before == '-' || before == ':') return true;
    }
  }
  return false;
}

// runc's and crun's own program waits in the container until "start". Only a label: a process can arrange to
// look so.
bool waits_for_start(const Root& process) {
  const auto exe = process.read_link_beneath("exe");
  if (!exe) return false;
  if (!exe->starts_with("/memfd:runc_cloned:") && !exe->substr(exe->rfind('/') + 1).starts_with("runc"))
    return false;
  const auto comm = process.read_file_in_root("comm", kMaxProcTextBytes);
  return comm && comm->starts_with("runc:[");
}

// freezer.state of cgroup v1, cgroup.events of v2; the node's own mount of them.
bool is_frozen(const Root& node, const std::vector<proc::CgroupLine>& lines) {
  for (const auto& line : lines) {
    const bool v2 = line.hierarchy == 0;
    if (!v2 && line.controllers != "freezer") continue;
    const std::string file = v2 ? "sys/fs/cgroup" + line.path + "/cgroup.events"
                                : "sys/fs/cgroup/freezer" + line.path + "/freezer.state";
    const auto text = node.read_file_in_root(file, kMaxLineBytes);
    if (text && (text->find("frozen 1") != std::string::npos || text->starts_with("FROZEN"))) return true;
  }
  return false;
}

// What the spec says of namespaces is a wish with paths in it; equal inodes are the truth.
void compare_namespaces(const Root& proc, const NodeFacts& node, Container& container) {
  auto& rights = container.rights;
  auto at = static_cast<std::ptrdiff_t>(!rights.empty() && rights.front() == "priv");
  for (const auto& [type, right] : kShared) {
    const auto its = proc::read_namespace(proc, container.init_pid, type);
    const auto first = node.namespaces.find(type);
    const auto listed = std::find(rights.begin(), rights.end(), right);
    if (!its || first == node.namespaces.end()) {  // what the spec says stands
      at += listed != rights.end();
      continue;
    }
    if (listed != rights.end()) rights.erase(listed);
    if (*its == first->second) rights.emplace(rights.begin() + at++, right);
  }
}

}  // namespace

NodeFacts read_node_facts(const Root& proc, Task& task) {
  NodeFacts node;
  if (auto read = proc::read_clock(proc)) {
    node.clock = *read;
  } else {
    task.gaps.add({Impact::degraded, "runtime.clock", "stat", std::move(read).error()});
  }
  const std::int32_t first = proc::node_process(proc);
  for (const auto& [type, right] : kShared) {
    if (const auto its = proc::read_namespace(proc, first, type)) node.namespaces.emplace(type, *its);
  }
  return node;
}

void look_at_init(const Root& proc, const InitPid& said, const NodeFacts& node, Found& into, Task& task) {
  Container& container = into.container;
  const auto process = proc.descend(std::to_string(said.pid));  // stays this process
  const auto stat_text =
      process ? process->read_file_in_root("stat", kMaxProcTextBytes) : Result<std::string>(process.error());
  if (!stat_text) {
    container.state = ContainerState::exited;
    return;
  }
  const auto stat = proc::parse_stat(*stat_text);
  // Where the main thread has ended and others live, those still have a program and a cgroup.
  const auto living = stat ? proc.descend(proc::live_path(proc, *stat)) : Result<Root>(stat.error());
  const auto cgroup_text =
      living ? living->read_file_in_root("cgroup", kMaxProcTextBytes) : Result<std::string>(living.error());
  if (stat && !cgroup_text && cgroup_text.error().is_gone()) {  // it ended between the two
    container.state = ContainerState::exited;
    return;
  }
  if (!stat || !cgroup_text) {
    gap(task, Impact::lost, said, stat ? cgroup_text.error() : stat.error());
    return;
  }
  const auto lines = proc::parse_cgroup(*cgroup_text);
  const bool in_cgroup = std::any_of(lines.begin(), lines.end(), [&](const proc::CgroupLine& line) {
    return names_container(line.path, container.id);
  });
  const bool of_shim = said.monitors.contains(stat->ppid);
  // Pid reuse: another process that got the number is neither a child of a shim nor in the container's
  // cgroup.
  if ((!of_shim && !in_cgroup) || stat->has_ended()) {
    container.state = ContainerState::exited;
    return;
  }
  if (of_shim) {
    into.shim_pid = stat->ppid;
  } else {
    gap(task, Impact::note, said,
        {Errc::mismatch,
         "pid " + std::to_string(said.pid) + " has no shim as its parent: the shim was killed"});
  }
  container.init_pid = said.pid;
  container.init_start_ticks = stat->start_ticks;
  if (node.clock) container.started_at = proc::time_of_ticks(*node.clock, stat->start_ticks);
  if (container.cgroup.empty() && !lines.empty()) container.cgroup = Bytes(lines.back().path);
  container.state = ContainerState::running;
  if (waits_for_start(*living)) container.state = ContainerState::created;
  if (is_frozen(said.node, lines)) container.state = ContainerState::paused;
  compare_namespaces(proc, node, container);
}

}  // namespace ctriage::runtime
