#include <algorithm>

#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/network.h"
#include "lib/source/live.h"
#include "lib/source/live_detail.h"
#include "lib/source/programs.h"

namespace ctriage::source {
namespace {

// A container's root directory and the mount that it is.
struct RootMount {
  Root directory;
  Mount mount;
};

std::optional<std::uint32_t> root_mount_id(const Node& node, const LiveContainer& container) {
  auto root = node.proc.descend_magic(proc::live_path(node.proc, container.container.init_pid) + "/root");
  return root ? mount_id(node.proc, root->fd()) : std::nullopt;
}

// The root of its first process, by the id that the kernel gives for /proc/INIT/root. What is mounted over
// "/" since changes neither that directory nor what its processes run, only the last line of mountinfo.
Result<RootMount> root_of_init(const Node& node, const LiveContainer& container) {
  auto root = node.proc.descend_magic(proc::live_path(node.proc, container.container.init_pid) + "/root");
  if (!root) return needs(std::move(root).error(), "CAP_SYS_PTRACE");
  const auto id = mount_id(node.proc, root->fd());
  for (const Mount& mount : container.mounts) {
    if (id && mount.id == *id) return RootMount{*std::move(root), mount};
  }
  return Error{Errc::not_found, "the mount of the root directory is not in mountinfo"};
}

// The root that the engine made, as the shim sees it: an intruder who gave his process another one by
// pivot_root(2) has not moved this.
std::optional<RootMount> root_of_engine(const Node& node, const LiveContainer& container, Task& task) {
  if (container.shim_pid <= 0) return std::nullopt;
  const std::string& path = container.container.root_dir.raw;
  if (path.empty()) return std::nullopt;
  auto shim = node.proc.descend_magic(std::to_string(container.shim_pid) + "/root");
  auto directory = shim ? shim->descend_in_root(path) : Result<Root>(shim.error());
  auto mounts = proc::read_mounts(node.proc, container.shim_pid, task);
  if (!directory || !mounts) return std::nullopt;
  const auto id = mount_id(node.proc, directory->fd());
  for (const Mount& mount : *mounts) {
    if (id && mount.id == *id && mount.mountpoint.raw == path) return RootMount{*std::move(directory), mount};
  }
  return std::nullopt;
}

// overlay's paths are paths of the mount namespace and root of whoever mounted it.
std::vector<std::string> places_of_the_mounter(const Node& node, const LiveContainer& container) {
  std::vector<std::string> roots;
  if (container.shim_pid > 0) roots.push_back(std::to_string(container.shim_pid) + "/root");
  const auto init = proc::read_stat(node.proc, container.container.init_pid);
  if (init && init->ppid > 0) roots.push_back(std::to_string(init->ppid) + "/root");
  roots.push_back(node.host_link("root"));
  return roots;
}

// The first process of a container of no engine we know: the topmost ancestor in the same mount and pid
// namespaces.
std::int32_t topmost_in_namespaces(const Root& procfs, std::int32_t pid) {
  const auto same = [&](std::int32_t other, std::string_view type) {
    const auto its = proc::read_namespace(procfs, other, type);
    const auto ours = proc::read_namespace(procfs, pid, type);
    return its && ours && *its == *ours;
  };
  std::int32_t top = pid;
  for (auto up = proc::read_stat(procfs, top); up && up->ppid > 0; up = proc::read_stat(procfs, top)) {
    if (!same(up->ppid, "mnt") || !same(up->ppid, "pid")) break;
    top = up->ppid;
  }
  return top;
}

// Whether `upper` is the UpperDir of the overlay whose root directory `merged` is. The option strings are
// names in the mount namespace of whoever mounted, maybe the intruder: the same name is another directory
// here. But an overlay shows its upper directory's own times, and nobody can set ctime and birth time.
bool is_upper_of(const Root& upper, const Root& merged) {
  constexpr int kTries = 5;  // the container may be writing to it
  for (int i = 0; i < kTries; ++i) {
    const auto below = upper.stat_beneath("");
    const auto above = merged.stat_beneath("");
    if (!below || !above) return false;
    if (below->ctime == above->ctime && below->mtime == above->mtime && below->btime == above->btime)
      return true;
  }
  return false;
}

// Docker and containers-storage mount with paths relative to their own directory, two above the mount point
// BASE/<id>/merged, which only the mounter's or the node's mount table has.
std::string base_of_relative_paths(const Node& node, const LiveContainer& container, const Mount& root,
                                   const Task& task) {
  constexpr std::string_view kMerged = "/merged";
  GapLog unseen;  // without a base the path that needs one is told
  Task quiet = task.with(unseen);
  for (const std::int32_t pid : {container.shim_pid, node.host}) {
    if (pid <= 0) continue;
    auto mounts = proc::read_mounts(node.proc, pid, quiet);
    if (!mounts) continue;
    for (const Mount& mount : *mounts) {
      std::string_view path = mount.mountpoint.view();
      if (mount.device != root.device || mount.fstype.raw != "overlay" || !path.ends_with(kMerged)) continue;
      path.remove_suffix(kMerged.size());
      const auto id = path.rfind('/');
      if (id != std::string_view::npos && id > 0) return std::string(path.substr(0, id));
    }
  }
  return {};
}

// Whether two roots show the same directories under the names of this overlay.
bool same_layers(const overlay::Options& options, const Root& one, const Root& other) {
  const auto same = [&](const std::string& name) {
    const std::string path = name.starts_with('/') || options.base.empty() ? name : options.base + "/" + name;
    const auto here = one.stat_in_root(path);
    const auto there = other.stat_in_root(path);
    return here && there && here->same_inode(*there);
  };
  return same(options.upper) && std::ranges::all_of(options.lowers, same) &&
         std::ranges::all_of(options.data_only, same);
}

Result<overlay::Stack> open_layers(const Node& node, const LiveContainer& container, const RootMount& root,
                                   Task& task) {
  auto options = overlay::parse_options(root.mount.super_options.raw);
  if (!options) return std::move(options).error().within("overlay options");
  if (options->upper.empty())
    return Error{Errc::unsupported, "the root is a read-only overlay: nothing can change"};

  if (!options->upper.starts_with('/'))
    options->base = base_of_relative_paths(node, container, root.mount, task);
  const std::string& upper_name = options->upper;
  const std::string upper_path =
      upper_name.starts_with('/') || options->base.empty() ? upper_name : options->base + "/" + upper_name;
  Error last{Errc::not_found, "no place to look for " + upper_path};
  for (const std::string& place : places_of_the_mounter(node, container)) {
    auto base = node.proc.descend_magic(place);
    if (!base) {
      last = needs(std::move(base).error(), "CAP_SYS_PTRACE");
      continue;
    }
    if (auto upper = base->stat_in_root(upper_path); !upper) {
      last = needs(std::move(upper).error(), "CAP_DAC_READ_SEARCH");
      continue;
    }
    // Mounts of another mount namespace, where Podman's monitor may be, cannot be cloned.
    if (auto ours = node.proc.descend_magic(node.host_link("root"));
        ours && same_layers(*options, *base, *ours))
      base = std::move(ours);
    auto stack = overlay::Stack::open(*options, *base, container.container.id, task);
    if (!stack) return stack;
    if (is_upper_of(stack->upper(), root.directory)) return stack;
    last = Error{Errc::mismatch, upper_path +
                                     " is not the UpperDir of this overlay: the container mounted it, "
                                     "or its processes have another root directory"};
  }
  return last;
}

Result<overlay::Stack> open_stack(const Node& node, LiveContainer& container, Task& task) {
  auto root = root_of_init(node, container);
  if (auto made = root_of_engine(node, container, task)) {
    if (root && root->mount.device != made->mount.device) {
      task.gaps.add(
          {Impact::lost,
           "container.root",
           container.container.id,
           {Errc::mismatch, "its first process has another root directory than the engine gave it (" +
                                root->mount.fstype.raw +
                                "): the engine's is collected, what lies in the other is not"}});
    }
    root = *std::move(made);
  }
  if (!root) return std::move(root).error();
  container.root_device = root->mount.device;
  if (root->mount.fstype.raw != "overlay") {
    return Error{Errc::unsupported,
                 "the root is " + root->mount.fstype.raw +
                     ", not overlay: changes against the image cannot be told by this version"};
  }
  return open_layers(node, container, *root, task);
}

}  // namespace

Error needs(Error error, std::string_view capability) {
  if (error.code == Errc::denied) error.what += " (needs " + std::string(capability) + ")";
  return error;
}

Status refresh_members(Node& node, LiveContainer& live, Task& task) {
  GapLog looking([&](const Gap& gap) {
    if (node.told.insert(gap.artifact + " " + gap.origin + " " + gap.error.what).second) task.gaps.add(gap);
  });
  Task once = task.with(looking);
  auto members =
      proc::find_members(node.proc, live.container.init_pid, live.shim_pid, once, &live.other_inits);
  if (!members) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (live.processes.empty() || members.error().code != Errc::vanished) {
      task.gaps.add({Impact::lost, "proc.members", live.container.id, std::move(members).error()});
    }
    if (!live.processes.empty() && !std::exchange(live.init_gone, true)) {
      task.gaps.add(
          {Impact::degraded,
           "proc.members",
           live.container.id,
           {Errc::vanished, "its first process has ended: processes started since are not looked for"}});
    }
    return Done{};
  }
  for (const proc::Member& member : *members) {
    HeldProcess& held = live.processes[member.pid];
    if (held.start_ticks == member.start_ticks) {
      held.ended = member.ended;
      continue;
    }
    if (held.start_ticks != 0 && !held.gone) {
      task.gaps.add({Impact::lost,
                     "proc.process",
                     pid_text(member.pid),
                     {Errc::vanished, "ended before it was read; another member has its number now"}});
    }
    held = HeldProcess();
    held.start_ticks = member.start_ticks;
    held.membership = member.membership;
    held.ended = member.ended;
  }
  return Done{};
}

Result<std::unique_ptr<Node>> open_node(Task& task) {
  std::string note;
  auto procfs = proc::open_procfs(note);
  if (!procfs) return std::move(procfs).error();
  auto readers = proc::Readers::start(*procfs);
  if (!readers) return std::move(readers).error();
  auto clock = proc::read_clock(*procfs);
  if (!clock) return std::move(clock).error();
  const std::int32_t host = proc::node_process(*procfs);
  const auto system = sys::uname();
  auto conntrack = proc::open_conntrack(*procfs, host, system ? system->release : "");
  // No socket, no exec, no ptrace from here on. Files stay open to us: Landlock would hide the target's
  // /proc.
  if (auto inside = enter_sandbox({.confine_files = false, .may_clone = true}, task.gaps); !inside)
    return std::move(inside).error();
  if (!note.empty()) {
    task.gaps.add(
        {Impact::degraded,
         "node.procfs",
         "/proc",
         {Errc::denied, "processes hidden by hidepid or by mounts over /proc would not be seen: " + note}});
  }
  const auto touched = std::make_shared<std::atomic<std::uint64_t>>(0);
  procfs->count_access_times(touched);
  auto node = std::make_unique<Node>(Node{std::move(*procfs), std::move(*readers), *clock, host, touched});
  const std::size_t descriptors = raise_descriptors();
  node->descriptors = descriptors / 2;
  node->descriptors_for_files = descriptors - node->descriptors;
  if (conntrack) {
    node->conntrack = *std::move(conntrack);
  } else {
    node->no_conntrack = std::move(conntrack).error();
  }
  return node;
}

std::set<std::int32_t> inits_of(const std::vector<runtime::Found>& all) {
  std::set<std::int32_t> inits;
  for (const runtime::Found& found : all) {
    // Not of a container that only a cgroup names: who may make cgroups could hide behind such a name.
    if (found.container.init_pid > 0 && !found.container.bundle_dir.empty())
      inits.insert(found.container.init_pid);
  }
  return inits;
}

Result<LiveContainer> open_container(Node& node, runtime::Found found, std::set<std::int32_t> inits,
                                     Task& task) {
  LiveContainer live;
  live.other_inits = std::move(inits);
  live.other_inits.erase(found.container.init_pid);
  live.container = std::move(found.container);
  live.raw_spec = std::move(found.raw_spec);
  live.shim_pid = found.shim_pid;
  auto mounts = proc::read_mounts(node.proc, live.container.init_pid, task, root_mount_id(node, live));
  if (mounts) {
    live.mounts = *std::move(mounts);
  } else {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    if (mounts.error().code == Errc::denied) return needs(std::move(mounts).error(), "CAP_SYS_PTRACE");
    task.gaps.add(
        {Impact::lost, "proc.mounts", pid_text(live.container.init_pid), std::move(mounts).error()});
  }
  for (Mount& mount : live.mounts) mount.container = live.container.id;
  if (const auto own = proc::read_namespace(node.proc, live.container.init_pid, "mnt"))
    live.mount_namespace = own->value;

  if (auto listed = refresh_members(node, live, task); !listed) return std::move(listed).error();
  if (live.processes.empty()) {
    return Error{Errc::vanished,
                 pid_text(live.container.init_pid) + " ended before its members could be listed"};
  }
  live.alone = live.processes.size() == 1 && live.processes.begin()->second.membership == Membership::alone;
  if (live.alone) {
    live.no_stack = "a process of the host has no image to compare with";
  } else if (auto stack = open_stack(node, live, task)) {
    live.stack = *std::move(stack);
  } else {
    live.no_stack = stack.error().what;
    // What no engine made has no image to be compared with; what an engine made has one that we did not see.
    const bool no_image = stack.error().code == Errc::unsupported && live.container.engine == "none";
    const Impact impact = no_image ? Impact::degraded : Impact::lost;
    task.gaps.add({impact, "container.layers", live.container.id, std::move(stack).error()});
  }
  return live;
}

namespace {

// An init container that did its work is how it should be. Of one that failed, or was ended, what it left on
// the disk is missing.
Error gap_of_ended(const Container& container, Task& task) {
  const bool done = container.exit_code && *container.exit_code == 0;
  Error error{Errc::vanished, "container " + container.name.raw + " (" + container.id.substr(0, 12) +
                                  ") is not running: it has ended; its layers and logs are not taken"};
  task.gaps.add({done ? Impact::note : Impact::lost, "container", container.id, error});
  return error;
}

}  // namespace

void LiveSnapshot::tell_ended(Task& task) {
  if (!std::exchange(ended_untold_, false)) return;
  std::set<std::string> sandboxes;
  std::set<std::string> names;
  for (const LiveContainer& live : containers_) {
    if (!live.container.pod || live.container.pod->sandbox_id.empty()) continue;
    sandboxes.insert(live.container.pod->sandbox_id);
    names.insert(live.container.name.raw);
  }
  if (sandboxes.empty()) return;
  GapLog told;  // damaged records of other containers are no gap of this pod
  Task looking = task.with(told);
  auto all = runtime::list_containers(node_->proc, looking);
  if (!all) {
    task.gaps.add({Impact::lost, "container", name_,
                   Error(all.error()).within("whether containers of the pod have ended is not known")});
    return;
  }
  for (const runtime::Found& found : *all) {
    const Container& container = found.container;
    const bool ended =
        container.state == ContainerState::exited || container.state == ContainerState::recovered;
    if (!ended || !container.pod || !sandboxes.contains(container.pod->sandbox_id)) continue;
    if (!names.contains(container.name.raw)) static_cast<void>(gap_of_ended(container, task));
  }
}

Result<std::unique_ptr<LiveSnapshot>> LiveSnapshot::open(std::unique_ptr<Node>& node,
                                                         const TargetQuery& query, Task& task) {
  // First those that run: reading what the engines recorded of all others would keep the hold waiting. A name
  // that is not whole may be the whole name of one that has ended.
  GapLog told;
  Task running = task.with(told);
  auto all = runtime::list_running(node->proc, running);
  if (!all) return std::move(all).error();
  auto resolved = resolve_target(query, *all);
  const bool quick = resolved && resolved->exact;
  if (quick) {
    task.gaps.merge(std::move(told));
  } else {
    all = runtime::list_containers(node->proc, task);
    if (!all) return std::move(all).error();
    resolved = resolve_target(query, *all);
  }
  if (!resolved) {
    if (resolved.error().code == Errc::not_found && sys::geteuid() != 0) {
      return Error{Errc::denied, resolved.error().what +
                                     "; not root, so the runtimes' processes cannot be looked into "
                                     "(needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"};
    }
    return std::move(resolved).error();
  }
  std::unique_ptr<LiveSnapshot> snapshot(new LiveSnapshot(std::move(node), resolved->name));
  const std::set<std::int32_t> inits = inits_of(*all);
  std::optional<Error> last;
  for (const std::size_t index : resolved->containers) {
    runtime::Found& found = (*all)[index];
    const std::string id = found.container.id;
    if (found.container.init_pid == 0 || found.container.state == ContainerState::exited) {
      last = gap_of_ended(found.container, task);
      continue;
    }
    auto live = open_container(*snapshot->node_, std::move(found), inits, task);
    if (live) {
      snapshot->containers_.push_back(*std::move(live));
    } else {
      last = std::move(live).error();
      task.gaps.add({Impact::lost, "container", id, *last});
    }
  }
  snapshot->ended_untold_ = quick;
  if (snapshot->containers_.empty()) {
    node = std::move(snapshot->node_);
    return last ? *last : Error{Errc::vanished, resolved->name + ": not running"};
  }
  return snapshot;
}

Result<std::unique_ptr<LiveSnapshot>> LiveSnapshot::open_pid(std::unique_ptr<Node> node, std::int32_t pid,
                                                             Task& task) {
  const std::string name = "pid:" + std::to_string(pid);
  auto stat = proc::read_stat(node->proc, pid);
  if (!stat) return Error{Errc::not_found, name + ": no such process"};
  if (stat->has_ended()) return Error{Errc::vanished, name + ": has ended (zombie)"};

  auto own = proc::read_namespace(node->proc, pid, "mnt");
  if (!own) return needs(std::move(own).error().within(name), "CAP_SYS_PTRACE");
  auto host = proc::read_namespace(node->proc, node->host, "mnt");
  if (!host) return std::move(host).error().within("the host's mount namespace");

  std::unique_ptr<LiveSnapshot> snapshot(new LiveSnapshot(std::move(node), name));
  const Root& procfs = snapshot->node_->proc;
  runtime::Found found;
  std::set<std::int32_t> inits;
  if (*own != *host) {
    auto all = runtime::list_running(procfs, task);
    if (all) {
      inits = inits_of(*all);
      for (runtime::Found& candidate : *all) {
        if (candidate.container.init_pid <= 0 || candidate.container.bundle_dir.empty()) continue;
        const auto ns = proc::read_namespace(procfs, candidate.container.init_pid, "mnt");
        if (ns && *ns == *own) {
          auto live = open_container(*snapshot->node_, std::move(candidate), inits, task);
          if (!live) return std::move(live).error();
          snapshot->containers_.push_back(*std::move(live));
          return snapshot;
        }
      }
    }
    found.container.init_pid = topmost_in_namespaces(procfs, pid);
  } else {
    found.container.init_pid = pid;
  }
  auto init = proc::read_stat(procfs, found.container.init_pid);
  if (!init) return std::move(init).error().within(name);
  found.container.id = "pid-" + std::to_string(found.container.init_pid);
  found.container.name = Bytes(found.container.id);
  found.container.engine = "none";
  found.container.state = ContainerState::running;
  found.container.init_start_ticks = init->start_ticks;
  auto live = open_container(*snapshot->node_, std::move(found), inits, task);
  if (!live) return std::move(live).error();
  snapshot->containers_.push_back(*std::move(live));
  return snapshot;
}

}  // namespace ctriage::source
