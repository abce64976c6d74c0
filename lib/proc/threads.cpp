// Threads of one process: /proc/PID/task/TID/{stat,syscall,wchan}.
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {

Status list_threads(const Root& process, std::int32_t pid, const Emit<Thread>& emit, Task& task) {
  auto directory = process.descend("task");
  auto tids = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!tids) {
    if (is_gone(tids.error()))
      return Error{Errc::vanished, origin_of(pid) + ": no such process", tids.error().number};
    return std::move(tids).error();
  }
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
