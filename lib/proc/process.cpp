// One process, from all its files. Its identity is pid and start time: both are looked at first and last, so
// that no record is ever put together from two processes.
#include "lib/core/limits.h"
#include "lib/proc/detail.h"
#include "lib/proc/facets.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

void take_stat(const Stat& stat, const Clock& clock, Process& into) {
  into.pid = stat.pid;
  into.start_ticks = stat.start_ticks;
  into.container_pid = stat.pid;  // status knows better
  into.ppid = stat.ppid;
  into.pgrp = stat.pgrp;
  into.session = stat.session;
  into.tty = stat.tty;
  into.comm = stat.comm;
  into.state = std::string(1, stat.state);
  into.started_at = time_of_ticks(clock, stat.start_ticks);
  into.threads = stat.threads;
  into.cpu_ticks = stat.cpu_ticks;
}

}  // namespace

Result<Process> read_process(const Root& proc, Readers& readers, std::int32_t pid, const Clock& clock,
                             Task& task) {
  auto first = read_stat(proc, pid);
  if (!first) return std::move(first).error();

  // What a dying process loses first comes first; what may hang in its memory lock comes last.
  Process process;
  take_stat(*first, clock, process);
  Facets facets(proc, readers, *first, task);
  facets.read_executable(process);
  facets.read_credentials(process);
  facets.read_namespaces(process);
  facets.read_links(process);
  facets.read_small(process);
  auto strings = facets.read_strings(process);
  if (!strings) return std::move(strings).error();
  if (auto found = facets.find_long_path(process); !found) return std::move(found).error();
  facets.check_executable(process);

  auto last = read_stat(proc, pid);
  if (!last) return std::move(last).error();
  if (last->start_ticks != first->start_ticks) {
    return Error{Errc::vanished, origin_of(pid) + ": ended while it was read, another process has its pid"};
  }
  facets.finish(*last);
  return process;
}

}  // namespace ctriage::proc
