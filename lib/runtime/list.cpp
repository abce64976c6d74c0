// All containers of the node. The walk: processes of engines -> bundles -> each one's init and records; then
// what the cgroups name and no engine's process leads to.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/parallel.h"
#include "lib/core/text.h"
#include "lib/runtime/bundles.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/init.h"
#include "lib/runtime/monitors.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/records.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {
namespace {

std::optional<Found> look_at_bundle(const Root& proc, const BundleSet& set, const std::string& id,
                                    const NodeFacts& facts, Task& task) {
  const std::string path = set.path + "/" + id;
  if (id.starts_with('.')) {  // renamed before it is removed, core/runtime/v2/bundle.go
    task.gaps.add({Impact::note, "runtime.bundle", path, {Errc::vanished, path + ": is being deleted"}});
    return std::nullopt;
  }
  if (!is_identifier(id)) {
    task.gaps.add({Impact::lost, "runtime.bundle", path, {Errc::malformed, path + ": not a container id"}});
    return std::nullopt;
  }
  auto found = read_bundle(set, id, task);
  if (found) read_init(proc, set, facts, *found, task);
  return found;
}

Status list_bundles(const Root& proc, const BundleSet& set, const NodeFacts& facts, std::vector<Found>& into,
                    Task& task) {
  std::string after;
  for (bool more = true; more;) {
    const auto block = list_names(set.directory, after);
    if (!block) {
      task.gaps.add({Impact::lost, "runtime.bundle", set.path, Error(block.error()).within(set.path)});
      return Done{};
    }
    std::vector<std::optional<Found>> found(block->names.size());
    auto listed = for_each_item(found.size(), task, [&](Share share, Task& own) -> Status {
      found[share.index] = look_at_bundle(proc, set, block->names[share.index], facts, own);
      return Done{};
    });
    if (!listed) return listed;
    for (std::optional<Found>& one : found) {
      if (one) into.push_back(*std::move(one));
    }
    more = block->more && !block->names.empty();
    if (more) after = block->names.back();
  }
  return Done{};
}

// The kubelet names the log of a container's nth restart <n>.log, so the newest one is that of this instance.
std::uint32_t find_attempt(const Root& node, const std::string& log_dir) {
  const auto directory = node.descend_in_root(log_dir);
  const auto block = directory ? list_names(*directory, "") : Result<NameBlock>(directory.error());
  std::uint32_t attempt = 0;
  if (!block) return attempt;
  for (const std::string& name : block->names) {
    if (!name.ends_with(".log")) continue;
    const auto number = parse_number<std::uint32_t>(std::string_view(name).substr(0, name.size() - 4));
    if (number) attempt = std::max(attempt, *number);
  }
  return attempt;
}

// What only the pod's sandbox knows of its containers: where they log, and which shim serves them all.
void complete_pods(const BundleSet& set, std::vector<Found>& found, std::size_t begin) {
  for (std::size_t i = begin; i < found.size(); ++i) {
    Container& container = found[i].container;
    const std::string& serving = container.pod ? container.pod->sandbox_id : container.id;
    auto shim = set.shims.find(serving);
    if (shim == set.shims.end()) shim = set.shims.find(container.id);
    if (found[i].shim_pid == 0 && shim != set.shims.end()) found[i].shim_pid = shim->second;
    if (!container.pod || container.sandbox) continue;
    const auto sandbox = std::find_if(found.begin() + static_cast<std::ptrdiff_t>(begin), found.end(),
                                      [&](const Found& other) { return other.container.id == serving; });
    if (sandbox == found.end()) continue;
    if (container.pod->uid.empty() && sandbox->container.pod)
      container.pod->uid = sandbox->container.pod->uid;
    if (sandbox->container.log_dir.empty() || !container.log_dir.empty() || container.name.empty()) continue;
    if (container.name.raw.find('/') != std::string::npos) continue;  // a Kubernetes name has none
    container.log_dir = Bytes(sandbox->container.log_dir.raw + "/" + container.name.raw);
    container.attempt = find_attempt(set.node, container.log_dir.raw);
  }
}

auto order_of(const Found& found) {
  static const PodRef kNone;
  const Container& container = found.container;
  const PodRef& pod = container.pod ? *container.pod : kNone;
  return std::tie(pod.ns, pod.name, pod.sandbox_id);
}

bool comes_before(const Found& left, const Found& right) {
  if (order_of(left) != order_of(right)) return order_of(left) < order_of(right);
  if (left.container.sandbox != right.container.sandbox) return left.container.sandbox;
  const Container& a = left.container;
  const Container& b = right.container;
  return std::tie(a.name, a.id, a.bundle_dir) < std::tie(b.name, b.id, b.bundle_dir);
}

// dockerd's namespace, which is moby-<uid>.<gid> with --userns-remap.
bool is_dockers(const std::string& engine_namespace) {
  return engine_namespace == "moby" || engine_namespace.starts_with("moby-");
}

// Named by its other containers, if it has any.
PodRef pod_of(const std::string& uid, const std::vector<Found>& found) {
  for (const Found& one : found) {
    if (one.container.pod && one.container.pod->uid == uid) return *one.container.pod;
  }
  return {{}, {}, uid, {}};
}

// A container whose shim or monitor is gone, killed maybe so that nobody lists it: its cgroup still names it.
// Only a name, which who may make cgroups chooses; but what lies inside another container is that one's.
void list_orphans(const Root& proc, const std::vector<Sighting>& sightings, const NodeFacts& facts,
                  std::vector<Found>& found, Task& task) {
  std::set<std::string> known;
  for (const Found& one : found) known.insert(one.container.id);
  std::map<std::string, const Sighting*> orphans;  // id -> its first process
  for (const Sighting& one : sightings) {
    if (one.container_id.empty() || known.contains(one.container_id)) continue;
    const Sighting*& first = orphans[one.container_id];
    if (first == nullptr || one.start_ticks < first->start_ticks) first = &one;
  }
  if (orphans.empty()) return;
  const auto node = proc.descend_magic(std::to_string(proc::node_process(proc)) + "/root");
  if (!node) {
    task.gaps.add(
        {Impact::lost, "runtime.orphan", "/",
         Error(node.error())
             .within(counted(orphans.size(), "container", "containers") + " known by the cgroup only")});
    return;
  }
  for (const auto& [id, first] : orphans) {
    const std::string origin = "pid " + std::to_string(first->pid);
    Found orphan;
    Container& container = orphan.container;
    container.id = id;
    container.name = Bytes(id);
    container.engine = first->engine;
    container.cgroup = Bytes(first->cgroup);
    if (!first->pod_uid.empty()) container.pod = pod_of(first->pod_uid, found);
    const InitPid said{first->pid, origin, {first->ppid}, *node};
    look_at_init(proc, said, facts, orphan, task);
    if (container.init_pid == 0) continue;  // ended
    orphan.shim_pid = 0;
    task.gaps.add(
        {Impact::degraded,
         "runtime.orphan",
         origin,
         {Errc::not_found,
          "container " + id +
              " is known by its cgroup only: no shim or monitor that we may look at leads to it, so its "
              "spec, image and mounts are not known"}});
    found.push_back(std::move(orphan));
  }
}

// `key = "..."` of a table of TOML, "" for what stands before the first.
std::string value_in_config(std::string_view text, std::string_view table, std::string_view key) {
  std::string_view in;
  for (std::string_view line : split(text, '\n')) {
    line = trim(line);
    if (line.starts_with('[')) in = line.substr(1, line.find(']') - 1);
    if (in != table || !line.starts_with(key) || !trim(line.substr(key.size())).starts_with('=')) continue;
    const auto open = line.find_first_of("\"'");
    const auto close = open == std::string_view::npos ? open : line.find(line[open], open + 1);
    if (close != std::string_view::npos) return std::string(line.substr(open + 1, close - open - 1));
  }
  return {};
}

constexpr std::string_view kContainerdConfig = "/etc/containerd/config.toml";
constexpr std::string_view kContainerdRoot = "/var/lib/containerd";

std::string root_of_daemon(const EngineProcess& daemon) {
  const auto arguments = arguments_of(daemon);
  if (std::string root = value_of(arguments, "--root"); !root.empty()) return root;
  std::string config = value_of(arguments, "--config");
  if (config.empty()) config = value_of(arguments, "-c");
  const auto node = daemon.directory.descend_magic("root");
  const auto text = node ? node->read_file_in_root(config.empty() ? kContainerdConfig : config, kMaxJsonBytes)
                         : Result<std::string>(node.error());
  return text ? value_in_config(*text, "", "root") : std::string{};  // containerd-config.toml(5)
}

// One for each driver that keeps layers as directories, where there is one.
void find_storage(const Root& node, const std::string& root, Storages& storages, Task& task) {
  for (const std::string_view driver : {"/overlay/x", "/vfs/x"})
    (void)storages.find(node, root + std::string(driver), task);
}

// Where containers-storage.conf(5) says that layers are kept.
void find_configured_storage(const Root& node, const std::string& config, Storages& storages, Task& task) {
  const auto text = node.read_file_in_root(config, kMaxJsonBytes);
  if (!text) {
    if (text.error().code != Errc::not_found)
      task.gaps.add({Impact::degraded, "runtime.storage", config, text.error()});
    return;
  }
  const std::string root = value_in_config(*text, "storage", "graphroot");
  if (root.starts_with('/')) find_storage(node, root, storages, task);
}

// Where users keep theirs: the homes in passwd(5), seventh field the shell. What they say is shown as theirs.
void find_user_storages(const Root& node, Storages& storages, Task& task) {
  constexpr std::string_view kPasswd = "/etc/passwd";
  const auto text = node.read_file_in_root(kPasswd, kMaxJsonBytes);
  if (!text) {
    if (text.error().code != Errc::not_found)
      task.gaps.add({Impact::degraded, "runtime.storage", std::string(kPasswd), text.error()});
    return;
  }
  for (const std::string_view line : split(*text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() != 7 || !fields[5].starts_with('/') || fields[5] == "/") continue;
    const std::string home(fields[5]);
    find_storage(node, home + "/.local/share/containers/storage", storages, task);
    find_configured_storage(node, home + "/.config/containers/storage.conf", storages, task);
  }
}

// The kubelet's, kuberuntime's BuildContainerLogsDirectory: <namespace>_<pod>_<uid>/<container>/<n>.log where
// the sandbox says, or in its usual place.
constexpr std::string_view kPodLogs = "/var/log/pods/";

// Of containers that have ended; those that run were served with their sandbox.
void find_logs(const Root& node, std::vector<Found>& found) {
  std::map<std::string, std::string> by_sandbox;
  for (const Found& one : found) {
    if (one.container.sandbox && !one.container.log_dir.empty())
      by_sandbox.emplace(one.container.id, one.container.log_dir.raw);
  }
  for (Found& one : found) {
    Container& container = one.container;
    if (!container.pod || container.sandbox || !container.log_dir.empty() || container.init_pid > 0) continue;
    const PodRef& pod = *container.pod;
    const auto is_name = [](const std::string& name) {
      return !name.empty() && name.find('/') == std::string::npos && name != "." && name != "..";
    };
    if (!is_name(container.name.raw)) continue;
    const auto said = by_sandbox.find(pod.sandbox_id);
    std::string path;
    if (said != by_sandbox.end()) {
      path = said->second + "/" + container.name.raw;
    } else if (is_name(pod.ns) && is_name(pod.name) && is_name(pod.uid)) {
      path = std::string(kPodLogs) + pod.ns + "_" + pod.name + "_" + pod.uid + "/" + container.name.raw;
    }
    if (!path.empty() && node.descend_in_root(path)) container.log_dir = Bytes(path);
  }
}

// The records of containerd, Docker and containers/storage below these roots; the usual storages are added.
Status list_records(const Root& node, std::set<std::string> containerd,
                    const std::set<std::string>& data_roots, Storages& storages, std::vector<Found>& found,
                    Task& task) {
  containerd.insert(std::string(kContainerdRoot));
  containerd.erase("");
  std::vector<EngineRoot> roots;
  for (const std::string& path : containerd) {
    auto own = node.duplicate();
    if (!own) return std::move(own).error();
    roots.push_back({*std::move(own), path});
  }
  for (const EngineRoot& root : roots) {
    if (auto added = add_containerd_records(root, found, task); !added) return added;
  }
  if (auto added = add_docker_records(node, {data_roots.begin(), data_roots.end()}, found, task); !added)
    return added;
  find_storage(node, "/var/lib/containers/storage", storages, task);
  for (const char* config : {"/etc/containers/storage.conf", "/usr/share/containers/storage.conf"})
    find_configured_storage(node, config, storages, task);
  find_user_storages(node, storages, task);
  if (auto added = add_storage_records(storages, found, task); !added) return added;
  for (const EngineRoot& root : roots) {
    if (auto added = add_removed_containers(root, found, task); !added) return added;
  }
  find_logs(node, found);
  return Done{};
}

// Where containerd, Docker and containers/storage keep records: the roots of those whose containers run, what
// the daemons were told, the defaults last.
Status list_live_records(const Root& proc, const std::vector<EngineProcess>& processes,
                         const DockerRoots& docker, Storages& storages, std::vector<Found>& found,
                         Task& task) {
  const auto node = proc.descend_magic(std::to_string(proc::node_process(proc)) + "/root");
  if (!node) {
    task.gaps.add(
        {Impact::lost, "runtime.record", "/", Error(node.error()).within("records of the engines")});
    return Done{};
  }
  std::set<std::string> containerd;
  std::set<std::string> data_roots(docker.known().begin(), docker.known().end());
  for (const Found& one : found) {
    const Container& container = one.container;
    if (container.engine_root.empty()) continue;
    if (container.engine == "containerd") containerd.insert(container.engine_root.raw);
    if (container.engine == "docker") data_roots.insert(container.engine_root.raw);
  }
  for (const EngineProcess& process : processes) {
    if (process.role == Role::containerd) containerd.insert(root_of_daemon(process));
  }
  return list_records(*node, std::move(containerd), data_roots, storages, found, task);
}

Result<std::vector<Found>> list_all(const Root& proc, bool with_records, Task& task) {
  // Before their shims, so that one who starts meanwhile is not taken for an orphan.
  const auto sightings = sight_processes(proc, task);
  if (!sightings) return sightings.error();
  const auto processes = find_engine_processes(proc, task);
  if (!processes) return processes.error();
  const auto sets = find_bundle_sets(*processes, task);
  if (!sets) return sets.error();
  const NodeFacts facts = read_node_facts(proc, task);
  std::vector<Found> found;
  const DockerRoots docker(*processes, task);
  for (const BundleSet& set : *sets) {
    const std::size_t begin = found.size();
    if (auto listed = list_bundles(proc, set, facts, found, task); !listed) return std::move(listed).error();
    if (is_dockers(set.engine_namespace)) {
      for (std::size_t i = begin; i < found.size(); ++i) complete_docker(set.node, docker, found[i], task);
    }
    complete_pods(set, found, begin);
  }
  Storages storages;
  if (auto listed = list_monitored(proc, *processes, facts, storages, found, task); !listed)
    return std::move(listed).error();
  list_orphans(proc, *sightings, facts, found, task);
  if (with_records) {
    if (auto listed = list_live_records(proc, *processes, docker, storages, found, task); !listed)
      return std::move(listed).error();
  }
  std::sort(found.begin(), found.end(), comes_before);
  return found;
}

}  // namespace

Result<std::vector<Found>> list_containers(const Root& proc, Task& task) {
  return list_all(proc, true, task);
}

Result<std::vector<Found>> list_on_disk(const Root& node, Task& task) {
  // Of the distributions that have one of their own; nobody runs who could be asked.
  std::set<std::string> containerd{"/var/lib/rancher/k3s/agent/containerd",
                                   "/var/lib/rancher/rke2/agent/containerd", "/var/lib/k0s/containerd",
                                   "/var/snap/microk8s/common/var/lib/containerd"};
  if (const auto text = node.read_file_in_root(kContainerdConfig, kMaxJsonBytes)) {
    containerd.insert(value_in_config(*text, "", "root"));
  } else if (text.error().code != Errc::not_found) {
    task.gaps.add({Impact::degraded, "runtime.record", std::string(kContainerdConfig), text.error()});
  }
  const DockerRoots docker(node, task);
  Storages storages;
  std::vector<Found> found;
  if (auto listed = list_records(node, std::move(containerd), {docker.known().begin(), docker.known().end()},
                                 storages, found, task);
      !listed)
    return std::move(listed).error();
  std::sort(found.begin(), found.end(), comes_before);
  return found;
}

Result<std::vector<Found>> list_running(const Root& proc, Task& task) { return list_all(proc, false, task); }

}  // namespace ctriage::runtime
