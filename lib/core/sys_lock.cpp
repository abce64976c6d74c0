#include "lib/core/sys_lock.h"

#include <sys/file.h>
#include <sys/prctl.h>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

Result<bool> try_lock(int fd, std::string_view name) {
  if (attempt(Call::query, [&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return failed("lock", name);
}

Status forbid_dumps() {
  return done_or(attempt(Call::confine, [&] { return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }), "prctl",
                 "PR_SET_DUMPABLE");
}

}  // namespace ctriage::sys
