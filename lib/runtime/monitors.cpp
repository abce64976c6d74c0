// Where conmon's container is, told by what conmon has open: it keeps the pipes "ctl" and "winsz" of its
// bundle and the container's log open as long as it lives. That needs no look into its memory, where its
// arguments
// (-b, -n, -p, -l) lie: a rootless one's user could make us wait for them. Of root's the name is taken from
// there. The bundle is <storage>/<driver>-containers/<id>/userdata: Podman's in the graph root, CRI-O's in
// the run root.
#include "lib/runtime/monitors.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "lib/runtime/bundles.h"
#include "lib/runtime/init.h"
#include "lib/runtime/shims.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kArtifact = "runtime.monitor";
constexpr std::string_view kControl = "/ctl";
constexpr std::string_view kUserdata = "/userdata";

struct Monitor {
  const EngineProcess& process;
  Root node;           // its root directory: paths of the node begin here
  std::string bundle;  // path
  std::string log;     // path, or nothing
  std::string id;
};

void gap(Task& task, Impact impact, const std::string& origin, Error error) {
  task.gaps.add({impact, std::string(kArtifact), origin, std::move(error).within(origin)});
}

// <anything>/<id>/userdata
bool parse_bundle(std::string_view path, std::string& id) {
  if (!path.starts_with('/') || !path.ends_with(kUserdata)) return false;
  path.remove_suffix(kUserdata.size());
  id = path.substr(path.rfind('/') + 1);
  return is_identifier(id);
}

Status read_open_files(const Root& process, std::string& control, std::string& log) {
  const auto directory = process.descend("fd");
  if (!directory) return directory.error();
  const auto block = list_names(*directory, "");
  if (!block) return block.error();
  for (const std::string& name : block->names) {
    const auto link = directory->read_link_beneath(name);
    if (!link || !link->starts_with('/')) continue;
    if (link->ends_with(kControl)) control = link->substr(0, link->size() - kControl.size());
    if (link->ends_with(".log")) log = *link;
  }
  return Done{};
}

// Nothing: it ended, or it is the monitor of an exec session, which has no container of its own.
std::optional<Monitor> read_monitor(const EngineProcess& process, Task& task) {
  const std::string origin = "pid " + std::to_string(process.pid);
  std::string bundle;
  std::string log;
  const Status read = read_open_files(process.directory, bundle, log);
  auto node = process.directory.descend_magic("root");
  if (!read || !node) {
    const Error& error = read ? node.error() : read.error();
    if (!error.is_gone()) gap(task, Impact::lost, origin, error);
    return std::nullopt;
  }
  std::string id;
  if (parse_bundle(bundle, id)) return Monitor{process, *std::move(node), bundle, log, id};
  if (parse_bundle(bundle.substr(0, bundle.rfind('/')), id)) return std::nullopt;  // <bundle>/<exec session>
  if (bundle.empty() && proc::has_gone(process.directory)) return std::nullopt;
  gap(task, Impact::lost, origin,
      {Errc::unsupported,
       bundle.empty() ? "has no bundle's control pipe open" : "its control pipe is in no bundle: " + bundle});
  return std::nullopt;
}

// conmon's only child, but while the runtime makes the container or the engine cleans up after it. Those are
// in the monitor's own mount namespace.
std::int32_t find_init(const Root& proc, const Monitor& monitor, const std::vector<Sighting>& sightings,
                       bool& has_child) {
  const auto own = proc::read_namespace(proc, monitor.process.pid, "mnt");
  const Sighting* best = nullptr;
  for (const Sighting& one : sightings) {
    if (one.ppid != monitor.process.pid) continue;
    has_child = true;
    const bool named = one.container_id == monitor.id;
    const auto its = named ? own : proc::read_namespace(proc, one.pid, "mnt");
    if (!named && (!its || !own || *its == *own)) continue;
    const bool better = best == nullptr || (named && best->container_id != monitor.id) ||
                        (named == (best->container_id == monitor.id) && one.start_ticks < best->start_ticks);
    if (better) best = &one;
  }
  return best == nullptr ? 0 : best->pid;
}

// conmon's own arguments come first, those of the command that cleans up last.
std::string name_in(const std::vector<std::string>& arguments) {
  const auto flag = std::find(arguments.begin(), arguments.end(), "-n");
  return flag == arguments.end() || flag + 1 == arguments.end() ? std::string{} : *(flag + 1);
}

std::optional<Found> read_monitored(const Monitor& monitor, Storages& storages, Task& task) {
  const auto bundle = monitor.node.descend_in_root(monitor.bundle);
  const auto info = bundle ? bundle->stat_beneath("") : Result<FileInfo>(bundle.error());
  if (!info) {
    gap(task, info.error().is_gone() ? Impact::note : Impact::lost, monitor.bundle, info.error());
    return std::nullopt;
  }
  const std::uint32_t user = monitor.process.uid;
  if (user != 0 && info->uid != user) {  // a user who points at what is not his
    gap(task, Impact::lost, monitor.bundle,
        {Errc::mismatch, "belongs to uid " + std::to_string(info->uid) + ", its monitor, pid " +
                             std::to_string(monitor.process.pid) + ", to uid " + std::to_string(user)});
    return std::nullopt;
  }
  Found found;
  Container& container = found.container;
  if (auto read = read_spec(*bundle, monitor.bundle, found, task); !read) {
    const std::string file = monitor.bundle + "/config.json";
    gap(task, Impact::lost, file, std::move(read).error());
  }
  if (user != 0) {  // a kubelet's pods are root's; what a user's own file says of them is not believed
    container.pod.reset();
    container.sandbox = false;
    container.log_dir = Bytes();
  }
  container.id = monitor.id;
  container.bundle_dir = Bytes(monitor.bundle);
  container.root_dir = Bytes(absolute_root(container));
  if (container.engine.empty()) container.engine = "podman";  // CRI-O always says that it is CRI-O
  container.engine_namespace = namespace_of(user);
  if (user == 0 && container.log_dir.empty() && !monitor.log.empty())
    container.log_dir = Bytes(monitor.log.substr(0, monitor.log.rfind('/')));

  for (const std::string& inside : {container.root_dir.raw, monitor.bundle}) {
    const Storage* storage = inside.empty() ? nullptr : storages.find(monitor.node, inside, task);
    if (storage == nullptr) continue;
    container.engine_root = Bytes(storage->graph_root);
    if (const auto record = storage->records.find(monitor.id); record != storage->records.end()) {
      container.record = Bytes(storage->files.at(monitor.id));
      complete(record->second, container);
    }
    break;
  }
  if (container.name.empty() && !container.sandbox) {
    container.name = Bytes(name_in(arguments_of(monitor.process)));
  }
  if (container.name.empty() && !container.sandbox) container.name = Bytes(container.id);
  return found;
}

}  // namespace

Status list_monitored(const Root& proc, const std::vector<EngineProcess>& processes, const NodeFacts& node,
                      Storages& storages, std::vector<Found>& into, Task& task) {
  std::set<std::string> seen;
  std::optional<std::vector<Sighting>> sightings;  // after the monitors, so that none lacks its child
  for (const EngineProcess& process : processes) {
    if (process.role != Role::monitor) continue;
    if (auto go_on = task.check(); !go_on) return go_on;
    if (!sightings) {
      auto seen_now = sight_processes(proc, task);
      if (!seen_now) return std::move(seen_now).error();
      sightings = *std::move(seen_now);
    }
    const auto monitor = read_monitor(process, task);
    if (!monitor) continue;
    if (!seen.insert(std::to_string(process.uid) + " " + monitor->bundle).second) continue;
    auto found = read_monitored(*monitor, storages, task);
    if (!found) continue;
    found->shim_pid = process.pid;
    bool has_child = false;
    const std::int32_t init = find_init(proc, *monitor, *sightings, has_child);
    if (init > 0) {
      const InitPid said{init, monitor->bundle, {process.pid}, monitor->node};
      look_at_init(proc, said, node, *found, task);
    } else {
      found->container.state = has_child ? ContainerState::created : ContainerState::exited;
    }
    into.push_back(*std::move(found));
  }
  return Done{};
}

}  // namespace ctriage::runtime
