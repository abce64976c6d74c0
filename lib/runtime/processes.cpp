// Who is a shim, who a monitor? An intruder wants to be listed as one: what it points at becomes evidence.
// What cannot be had from inside a container is what counts, all of it:
//
//   - the program is called so  (the exe link; comm and argv can be set by anybody)
//   - real, effective, saved and file system uid are 0, in our user namespace; of a rootless monitor all four
//     are that user's
//   - it is in no pid namespace below that of our procfs, which a process of an ordinary container is
//   - its mount namespace is the node's, or (microk8s, rootless Podman and others have one of their own) its
//     cgroup names no container: a process in a pod with hostPID shares the pid namespace, but stays in its
//     pod's cgroup. CRI-O's monitors may stand in the pod's, in a group "crio-conmon-<id>" of their own
//
// Who passes is root on the node outside of any container, and could start a real shim as well; a user who
// passes could start a real Podman. What passes the first and fails another test is a gap: a rootless
// containerd, or somebody who plays shim.
#include "lib/runtime/processes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/parallel.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kShim = "containerd-shim";
constexpr std::string_view kMonitor = "conmon";
constexpr std::string_view kArtifact = "runtime.shim";

std::string_view last_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::optional<Role> role_of(std::string_view program) {
  if (program.starts_with(kShim)) return Role::shim;
  if (program == kMonitor) return Role::monitor;
  if (program == "dockerd") return Role::dockerd;
  if (program == "containerd") return Role::containerd;
  for (const std::string_view other : {"kubelet", "crio", "k3s", "rke2"}) {
    if (program == other) return Role::other;
  }
  return std::nullopt;
}

bool has_containers(Role role) { return role == Role::shim || role == Role::monitor; }

// Processes whose exe link we may not read. Without CAP_SYS_PTRACE that is most of the node, and whether one
// of them is a shim cannot be known. With it what is still closed (to a security module, say) is of no
// interest unless it is named like a shim: a real one keeps its name.
struct Closed {
  std::uint64_t processes = 0;
  std::uint64_t call_themselves_so = 0;

  void add(const Closed& other) {
    processes += other.processes;
    call_themselves_so += other.call_themselves_so;
  }
  void tell(GapLog& gaps) const {
    constexpr std::uint64_t kPtrace = std::uint64_t{1} << 19U;  // CAP_SYS_PTRACE, capabilities(7)
    const auto ours = sys::effective_capabilities();
    const bool may = ours && (*ours & kPtrace) != 0;
    const std::uint64_t unknown = may ? call_themselves_so : processes;
    if (unknown == 0) return;
    std::string what = "whether they run containers is not known: the exe link is closed to us";
    if (call_themselves_so > 0) {
      what += ", and " + with_commas(call_themselves_so) + " of them named " + std::string(kShim) + " or " +
              std::string(kMonitor);
    }
    gaps.add({Impact::lost, std::string(kArtifact), counted(unknown, "process", "processes"),
              Error{Errc::denied, what + " (needs CAP_SYS_PTRACE)"}});
  }
};

// NSpid has one number per pid namespace that the process is visible in, outermost first, proc_pid_status(5):
// a single one means that it is in no other than this procfs. Needs no rights over pid 1, which reading its
// ns links does.
bool is_in_outer_pid_namespace(std::string_view status) {
  constexpr std::string_view kKey = "\nNSpid:";  // a newline in Name, the line above, is escaped
  const auto at = status.find(kKey);
  if (at == std::string_view::npos) return false;
  const std::string_view line = status.substr(at + kKey.size());
  return split_fields(line.substr(0, line.find('\n'))).size() == 1;
}

// No container, nor a pod, unless in a group that CRI-O made for this monitor.
bool is_outside_containers(std::string_view cgroup_text, Role role) {
  if (role != Role::monitor) return !proc::is_in_container(cgroup_text);
  const auto lines = proc::parse_cgroup(cgroup_text);
  return std::none_of(lines.begin(), lines.end(), [](const proc::CgroupLine& line) {
    Sighting sighting;
    read_owner("0::" + line.path, sighting);
    if (!sighting.container_id.empty()) return true;
    return !sighting.pod_uid.empty() && !last_name(line.path).starts_with("crio-conmon-");
  });
}

Closed closed_one(const Root& process) {
  const auto comm = process.read_file_in_root("comm", kMaxProcTextBytes);
  return {1, comm && (comm->starts_with(kShim) || trim(*comm) == kMonitor) ? 1U : 0U};
}

// `of_node`: the node's mount namespace.
Result<std::uint32_t> check_outside(const Result<std::string>& of_node, const Root& process, Role role) {
  const auto text = process.read_file_in_root("status", kMaxProcTextBytes);
  if (!text) return text.error();
  Process status;
  if (auto parsed = proc::parse_status(*text, status); !parsed) return std::move(parsed).error();
  const auto& uids = status.credentials.uids;
  const bool same = !uids.empty() && std::all_of(uids.begin(), uids.end(),
                                                 [&](std::uint32_t uid) { return uid == uids.front(); });
  if (role == Role::monitor && !same) {
    return Error{Errc::mismatch, "runs as several users at once: plays monitor"};
  }
  if (role != Role::monitor && (!same || uids.front() != 0)) {
    return Error{Errc::unsupported,
                 "does not run as root of the node: a rootless containerd is not read yet"};
  }
  if (!is_in_outer_pid_namespace(*text)) {
    return Error{
        Errc::mismatch,
        "is in a pid namespace of its own: plays shim in a container, or is of a node in a container"};
  }
  const auto its = process.read_link_beneath("ns/mnt");
  if (!its) return its.error();
  if (of_node && *its == *of_node) return uids.front();
  const auto cgroup = process.read_file_in_root("cgroup", kMaxProcTextBytes);
  if (!cgroup) return cgroup.error();
  if (!is_outside_containers(*cgroup, role))
    return Error{Errc::mismatch, "is in a container's cgroup: plays shim"};
  return uids.front();
}

// What a component of a cgroup path says of the engine: "cri-containerd-<id>.scope",
// "slice:cri-containerd:<id>", "crio-<id>", "docker-<id>.scope", "libpod-<id>", or "<id>" below "docker".
std::string engine_of(std::string_view segment, std::string_view parent) {
  for (const auto& [word, engine] :
       {std::pair<std::string_view, std::string_view>{"cri-containerd", "containerd"},
        {"crio", "cri-o"},
        {"docker", "docker"},
        {"libpod", "podman"}}) {
    const auto at = segment.find(word);
    if (at != std::string_view::npos && (at == 0 || segment[at - 1] == ':')) return std::string(engine);
  }
  return parent == "docker" ? "docker" : "unknown";
}

}  // namespace

void read_owner(std::string_view cgroup_text, Sighting& into) {
  for (const proc::CgroupLine& line : proc::parse_cgroup(cgroup_text)) {
    std::string pod_uid;
    std::string_view parent;
    for (const std::string_view segment : split(line.path, '/')) {
      const proc::CgroupOwner owner = proc::parse_cgroup_owner(segment);
      if (!owner.pod_uid.empty()) pod_uid = owner.pod_uid;
      if (!owner.container_id.empty()) {
        into.container_id = owner.container_id;
        into.engine = engine_of(segment, parent);
        into.cgroup = line.path;
        break;
      }
      parent = segment;
    }
    if (!pod_uid.empty()) into.pod_uid = std::move(pod_uid);
    if (!into.container_id.empty()) return;
  }
}

Result<std::vector<EngineProcess>> find_engine_processes(const Root& proc, Task& task) {
  const auto pids = proc::list_pids(proc);
  if (!pids) return pids.error();
  const auto of_node = proc.read_link_beneath(std::to_string(proc::node_process(proc)) + "/ns/mnt");
  struct Seen {
    std::optional<EngineProcess> process;
    Closed closed;
  };
  std::vector<Seen> seen(pids->size());
  const auto look = [&](Share share, Task& looking) -> Status {
    const std::int32_t pid = (*pids)[share.index];
    auto process = proc.descend(std::to_string(pid));
    if (!process) return Done{};                         // ended since it was listed
    const auto exe = process->read_link_beneath("exe");  // none: a kernel thread, or ended
    if (!exe && exe.error().code == Errc::denied) seen[share.index].closed = closed_one(*process);
    const std::string name(exe ? last_name(proc::without_deleted(*exe)) : std::string_view());
    const auto role = role_of(name);
    if (!role) return Done{};
    const auto uid = check_outside(of_node, *process, *role);
    if (uid) {
      seen[share.index].process = {pid, *role, name, *uid, *std::move(process)};
    } else if (!uid.error().is_gone() && has_containers(*role)) {
      const bool by_choice = uid.error().code == Errc::mismatch || uid.error().code == Errc::unsupported;
      const std::string origin = "pid " + std::to_string(pid);
      looking.gaps.add({by_choice ? Impact::note : Impact::lost, std::string(kArtifact), origin,
                        Error(uid.error()).within(origin)});
    }
    return Done{};
  };
  if (auto looked = for_each_item(pids->size(), task, look); !looked) return std::move(looked).error();
  std::vector<EngineProcess> found;
  Closed closed;
  for (Seen& one : seen) {
    closed.add(one.closed);
    if (one.process) found.push_back(*std::move(one.process));
  }
  closed.tell(task.gaps);
  return found;
}

std::vector<std::string> split_arguments(std::string_view cmdline) {
  const auto arguments = split(cmdline, '\0');
  return {arguments.begin(), arguments.end()};
}

std::vector<std::string> arguments_of(const EngineProcess& process) {
  if (process.uid != 0) return {};
  const auto text = process.directory.read_file_in_root("cmdline", kMaxCmdlineBytes);
  return text ? split_arguments(*text) : std::vector<std::string>{};
}

std::string value_of(std::span<const std::string> arguments, std::string_view flag) {
  std::string value;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == flag && i + 1 < arguments.size()) value = arguments[i + 1];
    if (argument.starts_with(flag) && argument.substr(flag.size()).starts_with('=')) {
      value = argument.substr(flag.size() + 1);
    }
  }
  return value;
}

Result<std::vector<Sighting>> sight_processes(const Root& proc, Task& task) {
  const auto pids = proc::list_pids(proc);
  if (!pids) return pids.error();
  std::vector<std::optional<Sighting>> seen(pids->size());
  const auto looked = for_each_item(pids->size(), task, [&](Share share, Task&) -> Status {
    const std::int32_t pid = (*pids)[share.index];
    const auto process = proc.descend(std::to_string(pid));
    const auto stat = process ? proc::read_own_stat(*process) : Result<proc::Stat>(process.error());
    if (!stat || stat->is_kernel_thread() || stat->has_ended()) return Done{};
    Sighting& sighting = seen[share.index].emplace();
    sighting.pid = pid;
    sighting.ppid = stat->ppid;
    sighting.start_ticks = stat->start_ticks;
    if (const auto text = process->read_file_in_root("cgroup", kMaxProcTextBytes))
      read_owner(*text, sighting);
    return Done{};
  });
  if (!looked) return looked.error();
  std::vector<Sighting> all;
  for (auto& sighting : seen) {
    if (sighting) all.push_back(*std::move(sighting));
  }
  return all;
}

}  // namespace ctriage::runtime
