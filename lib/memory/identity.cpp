#include "lib/memory/identity.h"

#include <utility>

namespace ctriage::memory {

Result<Identity> identity_of(const Root& process) {
  auto stat = proc::read_own_stat(process);
  if (!stat) return std::move(stat).error();
  Identity identity;
  identity.start_ticks = stat->start_ticks;
  identity.arg_start = stat->arg_start;
  identity.env_start = stat->env_start;
  auto living = proc::open_living(process);
  if (!living) return std::move(living).error();
  // A program that cannot be looked at (its file system is gone) still has its path.
  (void)proc::look_at_program(*living, identity.exe).has_value();
  return identity;
}

Result<Subject> open_subject(const Root& proc, std::int32_t pid, std::uint64_t start_ticks) {
  auto process = proc::open_process(proc, pid, start_ticks);
  if (!process) return std::move(process).error();
  auto stat = proc::read_own_stat(*process);
  if (!stat) return std::move(stat).error();
  const std::string name = "pid " + std::to_string(pid);
  if (stat->is_kernel_thread()) return Error{Errc::unsupported, name + ": a kernel thread, without memory"};
  if (stat->has_ended()) return Error{Errc::vanished, name + ": has ended (zombie), its memory is gone"};
  auto identity = identity_of(*process);
  if (!identity) return std::move(identity).error();
  return Subject{*std::move(process), *std::move(stat), *std::move(identity)};
}

Status list_regions_of(const Subject& subject, proc::Readers& readers, Plan& plan, Task& task) {
  auto listed = list_regions(subject.process, readers, subject.stat.pid, plan, task);
  if (!listed || !plan.regions.empty()) return listed;
  const std::string name = "pid " + std::to_string(subject.stat.pid);
  if (!subject.is_same()) return Error{Errc::vanished, name + ": ended before its mappings were listed"};
  return Error{Errc::unsupported, name + ": has no memory of its own"};
}

}  // namespace ctriage::memory
