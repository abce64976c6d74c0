// Which processes belong to a container, proc.h find_members. One pass over /proc reads of each process its
// stat, cgroup and two namespace links (some 25 us each), then everything is decided in memory.
#include <algorithm>
#include <cerrno>
#include <set>
#include <unordered_map>

#include "lib/core/text.h"
#include "lib/proc/cgroup_rule.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

using Inode = std::optional<std::uint64_t>;

struct Entry {
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::int32_t session = 0;
  std::uint64_t start_ticks = 0;
  Inode mnt;
  Inode pid_namespace;
  bool in_cgroup = false;
  bool of_other = false;  // its cgroup names another container
};

struct Namespaces {
  Inode mnt;
  Inode pid_namespace;
};

// What decides: the container's cgroup and those of its namespaces that are its own.
struct Boundary {
  CgroupRule cgroup;
  Namespaces host;
  Inode mnt;                               // empty when shared with pid 1
  std::set<std::uint64_t> pid_namespaces;  // the container's and those below it; empty when not its own
};

class Scan {
 public:
  Scan(const Root& proc, Task& task) : proc_(proc), task_(task) {}

  Result<std::vector<Entry>> read_all(const CgroupRule& rule, const Namespaces& host);
  Namespaces read_namespaces(std::int32_t pid);
  std::vector<CgroupLine> read_cgroup(std::int32_t pid);
  void report_denied();

 private:
  Inode read_one(std::int32_t pid, std::string_view type);

  const Root& proc_;
  Task& task_;
  std::uint64_t denied_ = 0;
  std::optional<Error> first_denied_;
};

Inode Scan::read_one(std::int32_t pid, std::string_view type) {
  auto inode = read_namespace(proc_, pid, type);
  if (inode) return inode->value;
  // EINVAL: the process is ending and has let go of its namespaces, though it is no zombie yet.
  if (inode.error().number == EINVAL || is_gone(inode.error()) || has_gone(proc_, pid)) return std::nullopt;
  ++denied_;
  if (!first_denied_) first_denied_ = std::move(inode).error();
  return std::nullopt;
}

Namespaces Scan::read_namespaces(std::int32_t pid) { return {read_one(pid, "mnt"), read_one(pid, "pid")}; }

std::vector<CgroupLine> Scan::read_cgroup(std::int32_t pid) {
  auto text = read_text(proc_, pid, "cgroup");
  return text ? parse_cgroup(*text) : std::vector<CgroupLine>{};
}

void Scan::report_denied() {
  if (!first_denied_) return;
  task_.gaps.add(
      gap_of("members", proc_.name(),
             std::move(*first_denied_).within(std::to_string(denied_) + " namespaces not readable")));
}

Result<std::vector<Entry>> Scan::read_all(const CgroupRule& rule, const Namespaces& host) {
  auto pids = list_pids(proc_);
  if (!pids) return std::move(pids).error();
  std::vector<Entry> entries;
  entries.reserve(pids->size());
  for (const std::int32_t pid : *pids) {
    if (auto going = task_.check(); !going) return std::move(going).error();
    auto stat = read_stat(proc_, pid);
    if (!stat) {
      if (!is_gone(stat.error())) {
        task_.gaps.add(gap_of("members", origin_of(pid), std::move(stat).error()));
      }
      continue;
    }
    if (stat->is_kernel_thread()) continue;
    Entry entry{pid, stat->ppid, stat->session, stat->start_ticks, {}, {}, false, false};
    const auto cgroup = read_cgroup(pid);
    entry.in_cgroup = rule.holds(cgroup);
    entry.of_other = rule.is_other(cgroup);
    const Namespaces own = pid == 1 ? host : read_namespaces(pid);
    entry.mnt = own.mnt;
    entry.pid_namespace = own.pid_namespace;
    if (entry.in_cgroup && !own.mnt && !read_stat(proc_, pid)) {
      task_.gaps.add({Impact::lost,
                      "proc.process",
                      origin_of(pid),
                      {Errc::vanished, "a member of the container ended before it was read"}});
      continue;
    }
    entries.push_back(entry);
  }
  return entries;
}

using Index = std::unordered_map<std::int32_t, const Entry*>;

// A child's pid namespace is its parent's or one below it, pid_namespaces(7): setns(2) and unshare(2) only
// lead down, and orphans find their new parent in the namespace of the old one. So a namespace entered from
// ours is below ours.
void add_namespaces_below(const std::vector<Entry>& entries, const Index& index,
                          std::set<std::uint64_t>& ours) {
  for (bool grown = true; grown;) {
    grown = false;
    for (const Entry& entry : entries) {
      if (!entry.pid_namespace || entry.of_other || ours.contains(*entry.pid_namespace)) continue;
      const auto parent = index.find(entry.ppid);
      if (parent == index.end() || !parent->second->pid_namespace) continue;
      if (ours.contains(*parent->second->pid_namespace)) grown |= ours.insert(*entry.pid_namespace).second;
    }
  }
}

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

std::optional<Membership> membership_of(const Entry& entry, const Boundary& boundary, std::int32_t init,
                                        std::int32_t shim, const Index& index) {
  if (entry.pid == init) return Membership::init;
  if (shim != 0 && entry.pid == shim) return std::nullopt;
  const bool in_mnt = boundary.mnt && entry.mnt == boundary.mnt;
  const bool in_pid =
      entry.pid_namespace && !entry.of_other && boundary.pid_namespaces.contains(*entry.pid_namespace);
  if (!entry.in_cgroup && !in_mnt && !in_pid) return std::nullopt;

  if (entry.in_cgroup && boundary.mnt && entry.mnt && entry.mnt == boundary.host.mnt)
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

}  // namespace

Result<std::vector<Member>> find_members(const Root& proc, std::int32_t init, std::int32_t shim, Task& task) {
  auto first = read_stat(proc, init);
  if (!first) return std::move(first).error();
  Scan scan(proc, task);
  const Namespaces host = host_namespaces(proc, scan, task);
  const Namespaces own = scan.read_namespaces(init);
  if (own.mnt && own.mnt == host.mnt) {
    return std::vector<Member>{{init, first->start_ticks, Membership::alone}};
  }

  Boundary boundary{
      {scan.read_cgroup(init), scan.read_cgroup(first->ppid), scan.read_cgroup(1)}, host, {}, {}};
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
  if (own_pids && is_first_of_namespace(proc, init)) {
    boundary.pid_namespaces.insert(*own.pid_namespace);
    add_namespaces_below(*entries, index, boundary.pid_namespaces);
  }

  std::vector<Member> members;
  for (Entry& entry : *entries) {
    auto membership = membership_of(entry, boundary, init, shim, index);
    if (membership == Membership::escaped) {
      // The runtime's exec joins the cgroup a moment before the namespaces: look again, now that some time
      // has passed.
      entry.mnt = scan.read_namespaces(entry.pid).mnt;
      membership = membership_of(entry, boundary, init, shim, index);
    }
    if (membership) members.push_back({entry.pid, entry.start_ticks, *membership});
  }
  scan.report_denied();
  return members;
}

}  // namespace ctriage::proc
