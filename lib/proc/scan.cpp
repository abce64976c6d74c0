// One pass over /proc reads of each process its stat, two namespace links and cgroup (some 30 us each), the
// newest first. What was born meanwhile is read in further passes, until nobody is new. Who forks faster than
// a pass is met by going straight to the newest pid, which /proc/loadavg names, proc_loadavg(5).
#include "lib/proc/scan.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/parallel.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"

namespace ctriage::proc {
namespace {

constexpr int kMaxRounds = 5;
constexpr int kMaxGlances = 400;  // at /proc/loadavg, some 10 us each
constexpr int kMaxChased = 64;    // new processes that are tried

// /proc/TID leads to a thread, too, though it is not listed.
bool leads_its_threads(const Root& process, std::int32_t pid) {
  const auto text = process.read_file_in_root("status", kMaxProcTextBytes);
  return text && text->find("\nTgid:\t" + std::to_string(pid) + "\n") != std::string::npos;
}

}  // namespace

const Entry* find_entry(const std::vector<Entry>& entries, std::int32_t pid) {
  const auto at = std::ranges::lower_bound(entries, pid, {}, &Entry::pid);
  return at == entries.end() || at->pid != pid ? nullptr : &*at;
}

std::int32_t Scan::newest_pid() const {
  const auto text = proc_.read_file_in_root("loadavg", kMaxLineBytes);
  if (!text) return 0;
  const auto fields = split_fields(trim(*text));
  return fields.empty() ? 0 : parse_number<std::int32_t>(fields.back()).value_or(0);
}

Inode Scan::read_one(const Root& process, std::int32_t pid, std::string_view type, bool& gone,
                     Read& into) const {
  auto inode = read_namespace(process, type);
  if (inode) return inode->value;
  // EINVAL: the process is ending and has let go of its namespaces, though it is no zombie yet.
  if (inode.error().number == EINVAL || is_gone(inode.error()) || has_gone(proc_, pid)) {
    gone = true;
    return std::nullopt;
  }
  ++into.denied;
  if (!into.first_denied) into.first_denied = std::move(inode).error();
  return std::nullopt;
}

Namespaces Scan::read_namespaces(std::int32_t pid) {
  auto process = proc_.descend(live_path(proc_, pid));
  bool gone = false;
  if (!process) return {};
  Read read;
  const Inode mnt = read_one(*process, pid, "mnt", gone, read);
  const Namespaces namespaces{mnt, read_one(*process, pid, "pid", gone, read)};
  keep(std::move(read), false);
  return namespaces;
}

void Scan::report_denied() {
  if (!first_denied_) return;
  task_.gaps.add(
      gap_of("members", proc_.name(),
             std::move(*first_denied_).within(std::to_string(denied_) + " namespaces not readable")));
}

// Through one open directory: it stays this process, or says that it is gone.
Scan::Read Scan::read_process(std::int32_t pid, bool listed, Task& task) const {
  Read read;
  auto process = proc_.descend(std::to_string(pid));
  auto text =
      process ? process->read_file_in_root("stat", kMaxProcTextBytes) : Result<std::string>(process.error());
  auto stat = text ? parse_stat(*text) : Result<Stat>(std::move(text).error());
  if (!stat) {
    read.unread = true;
    if (!is_gone(stat.error())) {
      task.gaps.add(gap_of("members", origin_of(pid), std::move(stat).error().within(origin_of(pid))));
    }
    return read;
  }
  if (stat->is_kernel_thread()) return read;
  if (!listed && stat->threads > 1 && !leads_its_threads(*process, pid)) return read;
  if (stat->main_thread_ended() && !stat->has_ended()) {
    if (auto living = proc_.descend(live_path(proc_, *stat))) process = std::move(living);
  }

  Entry& entry = read.entry.emplace();
  entry.pid = pid;
  entry.ppid = stat->ppid;
  entry.session = stat->session;
  entry.start_ticks = stat->start_ticks;
  entry.comm = std::move(stat->comm);
  entry.ended = stat->has_ended();
  const Namespaces own = pid == 1 ? *host_
                                  : Namespaces{read_one(*process, pid, "mnt", entry.cut, read),
                                               read_one(*process, pid, "pid", entry.cut, read)};
  entry.mnt = own.mnt;
  entry.pid_namespace = own.pid_namespace;
  if (auto cgroup = process->read_file_in_root("cgroup", kMaxProcTextBytes)) read.cgroup = *std::move(cgroup);
  entry.cut = entry.cut && !entry.ended;  // a zombie has none to lose
  return read;
}

void Scan::keep(Read read, bool late) {
  denied_ += read.denied;
  if (!first_denied_) first_denied_ = std::move(read.first_denied);
  if (read.unread) late_unread_ += late;
  if (!read.entry) return;
  read.entry->late = late;
  if (read.cgroup) {
    auto& known = cgroups_[*read.cgroup];
    if (!known) known = std::make_shared<const Cgroups>(read_names(parse_cgroup(*read.cgroup)));
    read.entry->cgroups = known;
  }
  late_read_ += late;
  entries_.push_back(*std::move(read.entry));
}

Status Scan::read_fresh(std::vector<std::int32_t> fresh, bool late) {
  // Pids are given in rising order and start again below: the newest are those just below the last one given.
  const std::int32_t newest = newest_pid();
  std::ranges::sort(fresh, [newest](std::int32_t a, std::int32_t b) {
    const bool a_wrapped = a > newest;
    const bool b_wrapped = b > newest;
    return a_wrapped == b_wrapped ? a > b : b_wrapped;
  });
  std::vector<Read> reads(fresh.size());
  auto read = for_each_item(fresh.size(), task_, [&](Share share, Task& own) -> Status {
    reads[share.index] = read_process(fresh[share.index], true, own);
    return Done{};
  });
  for (Read& one : reads) keep(std::move(one), late);
  return read;
}

Status Scan::chase() {
  std::int32_t last = 0;
  for (int glances = 0, chased = 0; glances < kMaxGlances && chased < kMaxChased; ++glances) {
    if (auto going = task_.check(); !going) return going;
    const std::int32_t newest = newest_pid();
    if (newest <= 0) return Done{};
    if (newest == last || !seen_.insert(newest).second) continue;
    last = newest;
    ++chased;
    keep(read_process(newest, false, task_), true);
  }
  return Done{};
}

Result<std::vector<Entry>> Scan::read_all(const Namespaces& host) {
  host_ = &host;
  for (int round = 0; round < kMaxRounds && !settled_; ++round) {
    auto pids = list_pids(proc_);
    if (!pids) return std::move(pids).error();
    std::vector<std::int32_t> fresh;
    for (const std::int32_t pid : *pids) {
      if (seen_.insert(pid).second) fresh.push_back(pid);
    }
    settled_ = fresh.empty();
    if (auto read = read_fresh(std::move(fresh), round > 0); !read) return std::move(read).error();
  }
  if (!settled_) {
    if (auto chased = chase(); !chased) return std::move(chased).error();
  }
  std::ranges::sort(entries_, {}, &Entry::pid);
  for (Entry& entry : entries_) entry.parent = find_entry(entries_, entry.ppid);
  return std::move(entries_);
}

}  // namespace ctriage::proc
