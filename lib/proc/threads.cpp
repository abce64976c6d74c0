// Threads of one process: /proc/PID/task/TID/{stat,syscall,wchan}.
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {

std::map<std::uint64_t, std::int32_t> list_thread_namespaces(const Root& process, std::string_view type,
                                                             const Task& task) {
  std::map<std::uint64_t, std::int32_t> found;
  const auto stat = read_own_stat(process);
  if (!stat || stat->threads <= 1) return found;
  const auto living = open_living(process);
  const auto own = living ? read_namespace(*living, type) : Result<Hex>(living.error());
  auto directory = process.descend("task");
  auto tids = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!own || !tids) return found;
  for (const std::int32_t tid : *tids) {
    if (!task.check()) break;
    const auto its = read_namespace_at(*directory, std::to_string(tid), type);
    if (its && *its != *own) found.emplace(its->value, tid);
  }
  return found;
}

namespace {

// unshare(2) CLONE_NEWNS in one thread: what it mounts, only it sees.
void tell_own_mounts(const Root& process, std::int32_t pid, Task& task) {
  for (const auto& [inode, tid] : list_thread_namespaces(process, "mnt", task)) {
    task.gaps.add(
        gap_of("mounts", origin_of(pid) + "/task/" + std::to_string(tid),
               {Errc::unsupported, "a thread in a mount namespace of its own: its mounts are in no list"}));
  }
}

}  // namespace

Status list_threads(const Root& process, std::int32_t pid, const Emit<Thread>& emit, Task& task) {
  auto directory = process.descend("task");
  auto tids = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!tids) {
    if (is_gone(tids.error()))
      return Error{Errc::vanished, origin_of(pid) + ": no such process", tids.error().number};
    return std::move(tids).error();
  }
  tell_own_mounts(process, pid, task);
  bool syscall_denied = false;
  for (const std::int32_t tid : *tids) {
    if (auto going = task.check(); !going) return going;
    const std::string origin = origin_of(pid) + "/task/" + std::to_string(tid);
    auto text = directory->read_file_in_root(under(tid, "stat"), kMaxProcTextBytes);
    auto stat = text ? parse_stat(*text) : Result<Stat>(std::move(text).error());
    if (!stat) {
      const bool gone = is_gone(stat.error());
      task.gaps.add(
          gap_of("threads", origin, std::move(stat).error(), gone ? Impact::degraded : Impact::lost));
      continue;
    }
    Thread thread;
    thread.pid = pid;
    thread.tid = tid;
    thread.start_ticks = stat->start_ticks;
    thread.comm = std::move(stat->comm);
    thread.state = std::string(1, stat->state);
    thread.cpu_ticks = stat->cpu_ticks;

    auto syscall = directory->read_file_in_root(under(tid, "syscall"), kMaxProcTextBytes);
    if (syscall) {
      thread.syscall = Bytes(std::string(trim(*syscall)));
    } else if (!is_gone(syscall.error()) &&
               !std::exchange(syscall_denied, true)) {  // one gap stands for all threads
      task.gaps.add(gap_of("syscall", origin, std::move(syscall).error()));
    }
    auto wchan = directory->read_file_in_root(under(tid, "wchan"), kMaxProcTextBytes);
    if (wchan && trim(*wchan) != "0" && !trim(*wchan).empty())
      thread.wchan = Bytes(std::string(trim(*wchan)));

    auto taken = emit(std::move(thread));
    if (!taken) return taken;
  }
  return Done{};
}

}  // namespace ctriage::proc
