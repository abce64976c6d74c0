// Which processes belong to a container, proc.h find_members: the node is scanned (scan.h), then everything
// is decided in memory.
#include <algorithm>
#include <set>
#include <unordered_map>

#include "lib/proc/cgroup_rule.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"
#include "lib/proc/scan.h"

namespace ctriage::proc {
namespace {

// What decides: the container's cgroup and those of its namespaces that are its own.
struct Boundary {
  CgroupRule cgroup;
  Namespaces host;
  Inode mnt;                               // empty when shared with pid 1
  std::set<std::uint64_t> pid_namespaces;  // the container's and those below it; empty when not its own
  std::int32_t init = 0;
  std::int32_t shim = 0;
  // Ids of containers that share the pid namespace; not known: every id is believed.
  std::optional<std::set<std::string>> mates;
};

using Index = std::unordered_map<std::int32_t, const Entry*>;

bool descends_from(const Entry& entry, std::int32_t init, std::int32_t shim, const Index& index) {
  std::int32_t pid = entry.pid;
  for (std::size_t steps = 0; steps <= index.size();
       ++steps) {  // pids reused while we scanned could make a ring
    if (pid == init || (shim != 0 && pid == shim)) return true;
    const auto found = index.find(pid);
    if (found == index.end()) return false;
    pid = found->second->ppid;
  }
  return false;
}

bool descends_from_init(const Entry& entry, const Boundary& boundary, const Index& index) {
  return entry.pid != boundary.init && descends_from(entry, boundary.init, 0, index);
}

// Of a container that shares the pid namespace with ours. Whoever may make cgroups can give himself such a
// name: it is not believed of what init started, nor when no such container is there. An orphan of that
// container has our init for a parent, pid_namespaces(7).
bool is_of_other(const Entry& entry, const Boundary& boundary, const Index& index) {
  if (entry.other_id.empty()) return false;
  if (boundary.mates && !boundary.mates->contains(entry.other_id)) return false;
  if (!descends_from_init(entry, boundary, index)) return true;
  return boundary.mates && entry.ppid == boundary.init;
}

// A child's pid namespace is its parent's or one below it, pid_namespaces(7): setns(2) and unshare(2) only
// lead down, and orphans find their new parent in the namespace of the old one. So a namespace entered from
// ours is below ours.
void add_namespaces_below(const std::vector<Entry>& entries, const Index& index, Boundary& boundary) {
  std::set<std::uint64_t>& ours = boundary.pid_namespaces;
  for (bool grown = true; grown;) {
    grown = false;
    for (const Entry& entry : entries) {
      if (!entry.pid_namespace || ours.contains(*entry.pid_namespace)) continue;
      if (is_of_other(entry, boundary, index)) continue;
      const auto parent = index.find(entry.ppid);
      if (parent == index.end() || !parent->second->pid_namespace) continue;
      if (ours.contains(*parent->second->pid_namespace)) grown |= ours.insert(*entry.pid_namespace).second;
    }
  }
}

std::optional<Membership> membership_of(const Entry& entry, const Boundary& boundary, const Index& index) {
  const std::int32_t init = boundary.init;
  const std::int32_t shim = boundary.shim;
  if (entry.pid == init) return Membership::init;
  if (shim != 0 && entry.pid == shim) return std::nullopt;
  const bool of_other = is_of_other(entry, boundary, index);
  const bool in_mnt = boundary.mnt && entry.mnt == boundary.mnt;
  const bool in_pid =
      entry.pid_namespace && !of_other && boundary.pid_namespaces.contains(*entry.pid_namespace);
  const bool started_inside = !of_other && descends_from_init(entry, boundary, index);
  if (!entry.in_cgroup && !in_mnt && !in_pid && !started_inside) return std::nullopt;

  if ((entry.in_cgroup || started_inside) && boundary.mnt && entry.mnt && entry.mnt == boundary.host.mnt)
    return Membership::escaped;

  // In the node's pid namespace orphans of the container become children of the shim, too. What exec starts
  // leads a session of its own; an orphan that was daemonized does not.
  const bool own_pids = !boundary.pid_namespaces.empty();
  if (shim != 0 && entry.ppid == shim && (own_pids || entry.session == entry.pid))
    return Membership::executed_in;

  if (in_mnt || in_pid) {
    // Whoever made the container without an engine (unshare(1)) is in its mount namespace and above its init.
    const auto first = index.find(init);
    const bool maker = first != index.end() && descends_from(*first->second, entry.pid, 0, index);
    const bool inside = maker || descends_from(entry, init, shim, index);
    const bool orphan = !own_pids && entry.in_cgroup;  // adopted by pid 1 or a sub-reaper of the node
    if (!inside && !orphan) return Membership::entered;
    if (boundary.cgroup.usable() && !entry.in_cgroup) return Membership::entered;
  }
  return Membership::child;
}

// The first process of its pid namespace, by the last number of NSpid. In a pod that shares one, only the
// pod's is.
bool is_first_of_namespace(const Root& proc, std::int32_t pid) {
  auto text = read_text(proc, pid, "status");
  Process process;
  return text && parse_status(*text, process) && process.container_pid == 1;
}

// Those of the node; where pid 1 may not be looked at, another process stands in for it.
Namespaces host_namespaces(const Root& proc, Scan& scan, Task& task) {
  const std::int32_t node = node_process(proc);
  auto first = read_namespace(proc, 1, "mnt");
  if (node != 1 && !first) {
    const auto stat = read_stat(proc, node);
    const bool kernel = stat && stat->is_kernel_thread();
    task.gaps.add(
        gap_of("members", "pid 1",
               std::move(first).error().within(kernel ? "compared with kernel thread " + std::to_string(node)
                                                      : "compared with ourselves, who may be in a container"),
               kernel ? Impact::note : Impact::lost));
  }
  return scan.read_namespaces(node);
}

// What was of the container and is gone again, or left nothing but its number.
class Passing {
 public:
  void add(const Entry& entry) {
    ++count_;
    last_ = origin_of(entry.pid) + " (" + entry.comm.raw + ")";
  }
  void tell(std::int32_t init, const Scan& scan, Task& task) const {
    if (count_ > 0) {
      task.gaps.add(
          gap_of("members", origin_of(init),
                 {Errc::vanished, std::to_string(count_) +
                                      " processes of the container came and went while it was looked "
                                      "at, the last one " +
                                      last_}));
    } else if (scan.saw_only_shadows()) {
      task.gaps.add(gap_of("members", origin_of(init),
                           {Errc::vanished, std::to_string(scan.late_unread()) +
                                                " new processes of the node ended before it could be told "
                                                "whether they are the container's"}));
    }
  }

 private:
  std::uint64_t count_ = 0;
  std::string last_;
};

// Ended, or another process has its pid by now.
bool is_still_there(const Root& proc, const Entry& entry) {
  const auto now = read_stat(proc, entry.pid);
  return now && now->start_ticks == entry.start_ticks;
}

std::set<std::string> ids_of_mates(const std::vector<Entry>& entries, const Boundary& boundary,
                                   const std::set<std::int32_t>& inits) {
  std::set<std::string> ids;
  for (const Entry& entry : entries) {
    if (entry.other_id.empty() || !entry.pid_namespace || !inits.contains(entry.pid)) continue;
    if (boundary.pid_namespaces.contains(*entry.pid_namespace)) ids.insert(entry.other_id);
  }
  return ids;
}

}  // namespace

Result<std::vector<Member>> find_members(const Root& proc, std::int32_t init, std::int32_t shim, Task& task,
                                         const std::set<std::int32_t>* other_inits) {
  auto first = read_stat(proc, init);
  if (!first) return std::move(first).error();
  Scan scan(proc, task);
  const Namespaces host = host_namespaces(proc, scan, task);
  const Namespaces own = scan.read_namespaces(init);
  if (own.mnt && own.mnt == host.mnt) {
    return std::vector<Member>{{init, first->start_ticks, Membership::alone, first->has_ended()}};
  }

  Boundary boundary{{scan.read_cgroup(init), scan.read_cgroup(first->ppid), scan.read_cgroup(1)},
                    host,
                    {},
                    {},
                    init,
                    shim,
                    {}};
  if (own.mnt && host.mnt) boundary.mnt = own.mnt;
  const bool own_pids = own.pid_namespace && host.pid_namespace && own.pid_namespace != host.pid_namespace;

  auto entries = scan.read_all(boundary.cgroup, host);
  if (!entries) return std::move(entries).error();
  Index index;
  for (const Entry& entry : *entries) index.emplace(entry.pid, &entry);
  const auto still = index.find(init);
  if (still == index.end() || still->second->start_ticks != first->start_ticks) {
    return Error{Errc::vanished, origin_of(init) + ": the container's first process ended"};
  }
  if (own_pids && is_first_of_namespace(proc, init)) boundary.pid_namespaces.insert(*own.pid_namespace);
  if (other_inits != nullptr) boundary.mates = ids_of_mates(*entries, boundary, *other_inits);
  if (!boundary.pid_namespaces.empty()) add_namespaces_below(*entries, index, boundary);

  std::vector<Member> members;
  Passing passing;
  for (Entry& entry : *entries) {
    auto membership = membership_of(entry, boundary, index);
    if (membership == Membership::escaped) {
      // The runtime's exec joins the cgroup a moment before the namespaces: look again, now that some time
      // has passed.
      entry.mnt = scan.read_namespaces(entry.pid).mnt;
      membership = membership_of(entry, boundary, index);
    }
    if (!membership) continue;
    const bool there = !entry.cut && (!entry.late || is_still_there(proc, entry));
    if (!there || (entry.late && entry.ended)) passing.add(entry);
    if (there) members.push_back({entry.pid, entry.start_ticks, *membership, entry.ended});
  }
  scan.report_denied();
  passing.tell(init, scan, task);
  return members;
}

}  // namespace ctriage::proc
