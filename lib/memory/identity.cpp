#include "lib/memory/identity.h"

#include "lib/proc/proc.h"

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

}  // namespace ctriage::memory
