// Which processes belong to a container, proc.h find_members: the node is scanned (scan.h), then everything
// is decided in memory.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "lib/proc/cgroup_rule.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"
#include "lib/proc/scan.h"

namespace ctriage::proc {
namespace {

// What decides: the container's cgroup and those of its namespaces that are its own.
struct Boundary {
  Namespaces host;
  Inode mnt;                               // empty when shared with pid 1
  std::set<std::uint64_t> pid_namespaces;  // the container's and those below it; empty when not its own
  const Entry& first;
  std::int32_t init = 0;
  std::int32_t shim = 0;
  // Ids of containers that share the pid namespace; not known: every id is believed.
  std::optional<std::set<std::string, std::less<>>> mates;
};

// Who comes from one process or another. Each process is passed once, however deep the tree is.
class Descent {
 public:
  explicit Descent(std::int32_t from, std::int32_t or_from = 0) : from_(from), or_from_(or_from) {}

  bool has(const Entry& entry) {
    std::vector<const Entry*> passed;
    bool found = false;
    for (const Entry* at = &entry; at != nullptr; at = at->parent) {
      const auto [known, is_new] =
          known_.try_emplace(at, false);  // pids reused while we scanned could make a ring
      found = known->second || is_one(at->pid) || is_one(at->ppid);
      if (found || !is_new) break;
      passed.push_back(at);
    }
    if (found) {
      for (const Entry* each : passed) known_[each] = true;
    }
    return found;
  }

 private:
  [[nodiscard]] bool is_one(std::int32_t pid) const {
    return pid == from_ || (or_from_ != 0 && pid == or_from_);
  }

  std::int32_t from_;
  std::int32_t or_from_;
  std::unordered_map<const Entry*, bool> known_;
};

// Those of whom Descent(from) says so, from above: a container has few of the node's processes.
std::unordered_set<const Entry*> all_below(std::int32_t from, const std::vector<Entry>& entries,
                                           const std::vector<const Entry*>& by_parent) {
  std::unordered_set<const Entry*> found;
  std::vector<std::int32_t> parents{from};
  if (const Entry* first = find_entry(entries, from)) found.insert(first);
  while (!parents.empty()) {
    const std::int32_t parent = parents.back();
    parents.pop_back();
    auto child = std::ranges::lower_bound(by_parent, parent, {}, &Entry::ppid);
    for (; child != by_parent.end() && (*child)->ppid == parent; ++child) {
      if (found.insert(*child).second) parents.push_back((*child)->pid);
    }
  }
  return found;
}

// A process of the node as one container sees it.
struct Candidate {
  const Entry& entry;
  Inode mnt;
  bool in_cgroup = false;
  std::string_view other_id;  // the other container that its cgroup names, if it does
  bool below_init = false;    // started inside

  Candidate(const Entry& of, const CgroupRule& rule, bool below) : entry(of), mnt(of.mnt), below_init(below) {
    if (of.cgroups) {
      in_cgroup = rule.holds(*of.cgroups);
      other_id = rule.other_id(*of.cgroups);
    }
  }
};

// Of a container that shares the pid namespace with ours. Whoever may make cgroups can give himself such a
// name: it is not believed of what init started, nor when no such container is there. An orphan of that
// container has our init for a parent, pid_namespaces(7).
bool is_of_other(const Candidate& one, const Boundary& boundary) {
  if (one.other_id.empty()) return false;
  if (boundary.mates && !boundary.mates->contains(one.other_id)) return false;
  if (!one.below_init) return true;
  return boundary.mates && one.entry.ppid == boundary.init;
}

// A child's pid namespace is its parent's or one below it, pid_namespaces(7): setns(2) and unshare(2) only
// lead down, and orphans find their new parent in the namespace of the old one. So a namespace entered from
// ours is below ours.
void add_namespaces_below(const std::vector<Candidate>& candidates, Boundary& boundary) {
  std::set<std::uint64_t>& ours = boundary.pid_namespaces;
  for (bool grown = true; grown;) {
    grown = false;
    for (const Candidate& one : candidates) {
      const Inode& its = one.entry.pid_namespace;
      const Entry* parent = one.entry.parent;
      if (!its || ours.contains(*its) || is_of_other(one, boundary)) continue;
      if (parent == nullptr || !parent->pid_namespace) continue;
      if (ours.contains(*parent->pid_namespace)) grown |= ours.insert(*its).second;
    }
  }
}

std::optional<Membership> membership_of(const Candidate& one, const Boundary& boundary, bool usable_cgroup,
                                        Descent& from_either) {
  const Entry& entry = one.entry;
  const std::int32_t init = boundary.init;
  const std::int32_t shim = boundary.shim;
  if (entry.pid == init) return Membership::init;
  if (shim != 0 && entry.pid == shim) return std::nullopt;
  const bool of_other = is_of_other(one, boundary);
  const bool in_mnt = boundary.mnt && one.mnt == boundary.mnt;
  const bool in_pid =
      entry.pid_namespace && !of_other && boundary.pid_namespaces.contains(*entry.pid_namespace);
  const bool started_inside = !of_other && one.below_init;
  if (!one.in_cgroup && !in_mnt && !in_pid && !started_inside) return std::nullopt;

  if ((one.in_cgroup || started_inside) && boundary.mnt && one.mnt && one.mnt == boundary.host.mnt)
    return Membership::escaped;

  // In the node's pid namespace orphans of the container become children of the shim, too. What exec starts
  // leads a session of its own; an orphan that was daemonized does not.
  const bool own_pids = !boundary.pid_namespaces.empty();
  if (shim != 0 && entry.ppid == shim && (own_pids || entry.session == entry.pid))
    return Membership::executed_in;

  if (in_mnt || in_pid) {
    // Whoever made the container without an engine (unshare(1)) is in its mount namespace and above its init.
    const bool inside = from_either.has(entry) || Descent(entry.pid).has(boundary.first);
    const bool orphan = !own_pids && one.in_cgroup;  // adopted by pid 1 or a sub-reaper of the node
    if (!inside && !orphan) return Membership::entered;
    if (usable_cgroup && !one.in_cgroup) return Membership::entered;
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
  // `shadows`: new processes of the node of which none could be read.
  void tell(std::int32_t init, std::uint64_t shadows, Task& task) const {
    if (count_ > 0) {
      task.gaps.add(
          gap_of("members", origin_of(init),
                 {Errc::vanished, std::to_string(count_) +
                                      " processes of the container came and went while it was looked "
                                      "at, the last one " +
                                      last_}));
    } else if (shadows > 0) {
      task.gaps.add(gap_of("members", origin_of(init),
                           {Errc::vanished, std::to_string(shadows) +
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

std::set<std::string, std::less<>> ids_of_mates(const std::vector<Candidate>& candidates,
                                                const Boundary& boundary,
                                                const std::set<std::int32_t>& inits) {
  std::set<std::string, std::less<>> ids;
  for (const Candidate& one : candidates) {
    const Inode& its = one.entry.pid_namespace;
    if (one.entry.pid == boundary.init || one.other_id.empty() || !its ||
        !boundary.pid_namespaces.contains(*its))
      continue;
    if (inits.contains(one.entry.pid)) ids.emplace(one.other_id);
  }
  return ids;
}

}  // namespace

struct Census::State {
  const Root& proc;
  std::optional<Namespaces> host;
  bool read = false;
  std::vector<Entry> entries;
  std::vector<const Entry*> by_parent;  // in order of ppid
  std::uint64_t late_unread = 0;        // new processes of the node that ended before they could be read
  bool saw_only_shadows = false;

  const Namespaces& read_host(Task& task) {
    if (!host) {
      Scan scan(proc, task);
      host = host_namespaces(proc, scan, task);
      scan.report_denied();
    }
    return *host;
  }
  Status read_entries(Task& task) {
    if (read) return Done{};
    Scan scan(proc, task);
    auto all = scan.read_all(read_host(task));
    if (!all) return std::move(all).error();
    entries = *std::move(all);
    for (const Entry& entry : entries) by_parent.push_back(&entry);
    std::ranges::sort(by_parent, {}, &Entry::ppid);
    late_unread = scan.late_unread();
    saw_only_shadows = scan.saw_only_shadows();
    scan.report_denied();
    read = true;
    return Done{};
  }
  // Of a process that had one.
  [[nodiscard]] std::vector<CgroupLine> cgroup_of(std::int32_t pid) const {
    const Entry* entry = find_entry(entries, pid);
    return entry == nullptr || !entry->cgroups ? std::vector<CgroupLine>{} : entry->cgroups->lines;
  }
};

Census::Census(const Root& proc) : state_(new State{proc, {}, false, {}, {}, 0, false}) {}
Census::Census(Census&&) noexcept = default;
Census::~Census() = default;
Status Census::read(Task& task) { return state_->read_entries(task); }

Result<std::vector<Member>> find_members(const Root& proc, std::int32_t init, std::int32_t shim, Task& task,
                                         const std::set<std::int32_t>* other_inits) {
  Census census(proc);
  return find_members(census, init, shim, task, other_inits);
}

Result<std::vector<Member>> find_members(Census& census, std::int32_t init, std::int32_t shim, Task& task,
                                         const std::set<std::int32_t>* other_inits) {
  Census::State& all = *census.state_;
  auto stat = read_stat(all.proc, init);
  if (!stat) return std::move(stat).error();
  const Namespaces& host = all.read_host(task);
  Scan looking(all.proc, task);
  const Entry* seen = all.read ? find_entry(all.entries, init) : nullptr;
  const bool known = seen != nullptr && seen->start_ticks == stat->start_ticks && !seen->cut && seen->mnt &&
                     seen->pid_namespace;
  const Namespaces own = known ? Namespaces{seen->mnt, seen->pid_namespace} : looking.read_namespaces(init);
  if (own.mnt && own.mnt == host.mnt) {
    return std::vector<Member>{{init, stat->start_ticks, Membership::alone, stat->has_ended()}};
  }

  if (auto read = all.read_entries(task); !read) return std::move(read).error();
  const Entry* first = find_entry(all.entries, init);
  if (first == nullptr || first->start_ticks != stat->start_ticks) {
    return Error{Errc::vanished, origin_of(init) + ": the container's first process ended"};
  }
  const CgroupRule rule(all.cgroup_of(init), all.cgroup_of(stat->ppid), all.cgroup_of(1));
  Boundary boundary{host, {}, {}, *first, init, shim, {}};
  if (own.mnt && host.mnt) boundary.mnt = own.mnt;
  const bool own_pids = own.pid_namespace && host.pid_namespace && own.pid_namespace != host.pid_namespace;
  std::vector<Candidate> candidates;
  candidates.reserve(all.entries.size());
  const auto from_init = all_below(init, all.entries, all.by_parent);
  for (const Entry& entry : all.entries)
    candidates.emplace_back(entry, rule, entry.pid != init && from_init.contains(&entry));
  if (own_pids && is_first_of_namespace(all.proc, init)) boundary.pid_namespaces.insert(*own.pid_namespace);
  if (other_inits != nullptr) boundary.mates = ids_of_mates(candidates, boundary, *other_inits);
  if (!boundary.pid_namespaces.empty()) add_namespaces_below(candidates, boundary);

  std::vector<Member> members;
  Passing passing;
  Descent from_either(init, shim);
  for (Candidate& one : candidates) {
    const Entry& entry = one.entry;
    auto membership = membership_of(one, boundary, rule.usable(), from_either);
    if (membership == Membership::escaped) {
      // The runtime's exec joins the cgroup a moment before the namespaces: look again, now that some time
      // has passed.
      one.mnt = looking.read_namespaces(entry.pid).mnt;
      membership = membership_of(one, boundary, rule.usable(), from_either);
    }
    if (!membership) continue;
    const bool there = !entry.cut && (!entry.late || is_still_there(all.proc, entry));
    if (!there || (entry.late && entry.ended)) passing.add(entry);
    if (there) members.push_back({entry.pid, entry.start_ticks, *membership, entry.ended});
  }
  looking.report_denied();
  passing.tell(init, all.saw_only_shadows ? all.late_unread : 0, task);
  return members;
}

}  // namespace ctriage::proc
