#include <linux/magic.h>

#include <algorithm>
#include <cerrno>

#include "lib/core/limits.h"
#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/network.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/programs.h"

namespace ctriage::source {
namespace {

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

}  // namespace

Error needs(Error error, std::string_view capability) {
  if (error.code == Errc::denied) error.what += " (needs " + std::string(capability) + ")";
  return error;
}

Status refresh_members(Node& node, LiveContainer& live, proc::Census& census, Task& task) {
  GapLog looking([&](const Gap& gap) {
    if (node.told->is_new(gap)) task.gaps.add(gap);
  });
  Task once = task.with(looking);
  auto members = proc::find_members(census, live.container.init_pid, live.shim_pid, once, live.inits.get());
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

namespace {

// kthreadd and its children are in the first pid namespace only.
bool shows_node(const Root& proc) {
  constexpr std::int32_t kThreadDaemon = 2;
  const auto daemon = proc::read_stat(proc, kThreadDaemon);
  return daemon && daemon->is_kernel_thread();
}

// The procfs below a directory where the node's / is mounted.
Result<Root> open_procfs_below(const std::string& directory) {
  if (auto given = Root::open(directory); !given) return given;
  const std::string path = directory + "/proc";
  auto proc = Root::open(path);
  if (!proc && proc.error().code != Errc::not_found) return proc;
  const auto system = proc ? sys::statfs(proc->fd(), path) : Result<sys::FsInfo>(proc.error());
  if (!system || system->f_type != PROC_SUPER_MAGIC)
    return Error{Errc::unsupported,
                 path + ": no procfs: a disk that nothing runs on; list, show, diff, ls, cat and cp --root " +
                     directory + " tell what its records and layers have"};
  if (!shows_node(*proc)) return Error{Errc::mismatch, path + ": the procfs of a container, not the node's"};
  return proc;
}

struct NodeProcfs {
  Root proc;
  std::string note;  // why it may hide processes
  bool whole = true;
};

Result<NodeProcfs> open_node_procfs(const std::string& root) {
  const auto below = [](const std::string& directory) -> Result<NodeProcfs> {
    auto proc = open_procfs_below(directory);
    if (!proc) return std::move(proc).error();
    return NodeProcfs{*std::move(proc), "read through " + directory + "/proc as it is mounted there", true};
  };
  if (!root.empty()) {
    auto given = below(root);
    if (!given) return std::move(given).error().within("--root");
    return given;
  }
  std::string note;
  auto own = proc::open_procfs(note);
  if (!own) return std::move(own).error();
  if (shows_node(*own)) return NodeProcfs{*std::move(own), note, true};
  if (auto host = below("/host")) return host;
  return NodeProcfs{*std::move(own), note, false};
}

}  // namespace

namespace {

Result<std::unique_ptr<Node>> make_node(NodeProcfs found, Task& task) {
  const std::string& note = found.note;
  Root* const procfs = &found.proc;
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
  const auto self = procfs->read_link_beneath("self");
  const auto ourselves = self ? parse_number<std::int32_t>(*self) : std::nullopt;
  auto node = std::make_unique<Node>(Node{std::move(*procfs), std::move(*readers), *clock, host, touched,
                                          ourselves.value_or(0), found.whole});
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

}  // namespace

Result<std::unique_ptr<Node>> open_node(Task& task, const std::string& root) {
  auto found = open_node_procfs(root);
  if (!found) return std::move(found).error();
  return make_node(*std::move(found), task);
}

Result<std::unique_ptr<Node>> open_disk_node(Task& task, const std::string& root) {
  auto disk = Root::open(root);
  if (!disk) return std::move(disk).error().within("--root");
  std::string note;
  auto own = proc::open_procfs(note);
  if (!own) return std::move(own).error();
  auto node = make_node({*std::move(own), "", true}, task);
  if (!node) return node;
  const auto name = disk->read_file_in_root("etc/hostname", kMaxLineBytes);
  (*node)->disk_name = Bytes(name ? std::string(trim(*name)) : root);
  (*node)->disk = *std::move(disk);
  return node;
}

std::shared_ptr<const std::set<std::int32_t>> inits_of(const std::vector<runtime::Found>& all) {
  auto inits = std::make_shared<std::set<std::int32_t>>();
  for (const runtime::Found& found : all) {
    // Not of a container that only a cgroup names: who may make cgroups could hide behind such a name.
    if (found.container.init_pid > 0 && !found.container.bundle_dir.empty())
      inits->insert(found.container.init_pid);
  }
  return inits;
}

Result<const Survey::Table*> Survey::table_of(std::int32_t pid, Task& task) {
  if (const auto known = table_of_.find(pid); known != table_of_.end()) return known->second;
  const auto ns = proc::read_namespace(proc_, pid, "mnt");
  if (!ns) return ns.error();
  const auto root = root_of(pid);
  const auto info = root ? (*root)->stat_beneath("") : Result<FileInfo>(root.error());
  if (!info) return info.error();
  const Place place{ns->value, info->device(), info->inode};
  auto known = tables_.find(place);
  if (known == tables_.end()) {
    auto mounts = proc::read_mounts(proc_, pid, task);
    if (!mounts) return std::move(mounts).error();
    known = tables_.emplace(place, Table{*std::move(mounts), {}}).first;
    const std::vector<Mount>& all = known->second.mounts;
    for (std::size_t i = 0; i < all.size(); ++i) known->second.by_id.try_emplace(all[i].id, i);
  }
  return table_of_.emplace(pid, &known->second).first->second;
}

Result<const std::vector<Mount>*> Survey::mounts_of(std::int32_t pid, Task& task) {
  auto table = table_of(pid, task);
  if (!table) return std::move(table).error();
  return &(*table)->mounts;
}

Result<const Mount*> Survey::mount_of(std::int32_t pid, std::uint32_t id, Task& task) {
  auto table = table_of(pid, task);
  if (!table) return std::move(table).error();
  const auto at = (*table)->by_id.find(id);
  if (at == (*table)->by_id.end())
    return Error{Errc::not_found, pid_text(pid) + ": no mount " + std::to_string(id)};
  return &(*table)->mounts[at->second];
}

Result<std::shared_ptr<const Root>> Survey::root_of(std::int32_t pid) {
  constexpr std::size_t kMostKept = 64;  // descriptors
  if (const auto known = roots_.find(pid); known != roots_.end()) return known->second;
  auto root = proc_.descend_magic(std::to_string(pid) + "/root");
  if (!root) return std::move(root).error();
  if (roots_.size() >= kMostKept) roots_.clear();
  return roots_.emplace(pid, std::make_shared<const Root>(*std::move(root))).first->second;
}

Result<LiveContainer> open_container(Node& node, runtime::Found found,
                                     std::shared_ptr<const std::set<std::int32_t>> inits, Survey& survey,
                                     Task& task) {
  LiveContainer live;
  live.inits = std::move(inits);
  live.container = std::move(found.container);
  live.raw_spec = std::move(found.raw_spec);
  live.shim_pid = found.shim_pid;
  const std::int32_t init = live.container.init_pid;
  const auto process = node.proc.descend(proc::live_path(node.proc, init));
  auto root = process ? process->descend_magic("root") : Result<Root>(process.error());
  const auto root_id = root ? mount_id(node.proc, root->fd()) : std::nullopt;
  auto mounts =
      process
          ? proc::read_own_mounts(*process, init, task, root_id)
          : Result<std::vector<Mount>>(Error{Errc::vanished, pid_text(init) + ": no such process", ENOENT});
  if (mounts) {
    live.mounts = *std::move(mounts);
  } else {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    if (mounts.error().code == Errc::denied) return needs(std::move(mounts).error(), "CAP_SYS_PTRACE");
    task.gaps.add({Impact::lost, "proc.mounts", pid_text(init), std::move(mounts).error()});
  }
  for (Mount& mount : live.mounts) mount.container = live.container.id;
  if (const auto own = process ? proc::read_namespace(*process, "mnt") : Result<Hex>(process.error()))
    live.mount_namespace = own->value;

  if (auto listed = refresh_members(node, live, *survey.census, task); !listed)
    return std::move(listed).error();
  if (live.processes.empty()) {
    return Error{Errc::vanished,
                 pid_text(live.container.init_pid) + " ended before its members could be listed"};
  }
  live.alone = live.processes.size() == 1 && live.processes.begin()->second.membership == Membership::alone;
  if (live.alone) {
    live.no_stack = "a process of the host has no image to compare with";
  } else if (auto stack = open_stack(node, live, std::move(root), survey, task)) {
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
  Error error{Errc::vanished,
              "container " + container.name.raw + " (" + container.id.substr(0, 12) +
                  ") is not running: it has ended; ctriage collect takes what is left of it, ctriage diff " +
                  container.id.substr(0, 12) + " shows it"};
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
                                                         const TargetQuery& query, Task& task, Ended ended) {
  // First those that run: reading what the engines recorded of all others would keep the hold waiting. A name
  // that is not whole may be the whole name of one that has ended.
  GapLog told;
  Task running = task.with(told);
  const bool by_labels = !query.labels.empty();  // which only the records have
  auto all = by_labels ? std::vector<runtime::Found>{} : runtime::list_running(node->proc, running);
  if (!all) return std::move(all).error();
  auto resolved = resolve_target(query, *all);
  const bool quick = !by_labels && resolved && resolved->exact;
  if (quick) {
    task.gaps.merge(std::move(told));
  } else {
    all = runtime::list_containers(node->proc, task);
    if (!all) return std::move(all).error();
    resolved = resolve_target(query, *all);
  }
  if (!resolved) {
    if (resolved.error().code == Errc::not_found && !node->whole)
      return Error{Errc::denied, resolved.error().what + "; " + std::string(kNodeNotSeen)};
    if (resolved.error().code == Errc::not_found && sys::geteuid() != 0) {
      return Error{Errc::denied, resolved.error().what +
                                     "; not root, so the runtimes' processes cannot be looked into "
                                     "(needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"};
    }
    return std::move(resolved).error();
  }
  std::unique_ptr<LiveSnapshot> snapshot(new LiveSnapshot(std::move(node), resolved->name));
  const auto inits = inits_of(*all);
  Survey survey(snapshot->node_->proc);
  std::optional<Error> last;
  for (const std::size_t index : resolved->containers) {
    runtime::Found& found = (*all)[index];
    const std::string id = found.container.id;
    if (found.container.init_pid == 0 || found.container.state == ContainerState::exited) {
      if (ended == Ended::taken) {
        snapshot->ended_.push_back(std::move(found));
      } else {
        last = gap_of_ended(found.container, task);
      }
      continue;
    }
    auto live = open_container(*snapshot->node_, std::move(found), inits, survey, task);
    if (live && !resolved->exact && live->processes.contains(snapshot->node_->ourselves)) {
      node = std::move(snapshot->node_);
      return Error{Errc::mismatch, query.token + ": would be " + resolved->name +
                                       ", where ctriage itself runs; write the whole name if that is meant"};
    }
    if (live) {
      snapshot->containers_.push_back(*std::move(live));
    } else {
      last = std::move(live).error();
      task.gaps.add({Impact::lost, "container", id, *last});
    }
  }
  snapshot->ended_untold_ = ended == Ended::told && quick && resolved->whole_pod;
  snapshot->ended_pending_ = ended == Ended::taken;
  snapshot->add_ended_ = ended == Ended::taken && resolved->whole_pod;
  if (snapshot->containers_.empty() && snapshot->ended_.empty()) {
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
  auto inits = inits_of({});
  Survey survey(procfs);
  if (*own != *host) {
    auto all = runtime::list_running(procfs, task);
    if (all) {
      inits = inits_of(*all);
      for (runtime::Found& candidate : *all) {
        if (candidate.container.init_pid <= 0 || candidate.container.bundle_dir.empty()) continue;
        const auto ns = proc::read_namespace(procfs, candidate.container.init_pid, "mnt");
        if (ns && *ns == *own) {
          auto live = open_container(*snapshot->node_, std::move(candidate), inits, survey, task);
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
  auto live = open_container(*snapshot->node_, std::move(found), inits, survey, task);
  if (!live) return std::move(live).error();
  snapshot->containers_.push_back(*std::move(live));
  return snapshot;
}

}  // namespace ctriage::source
