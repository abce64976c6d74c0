#pragma once
// The kinds of system call that sys.h makes, as the gate before them sees them.
#include <cstdint>

namespace ctriage::sys {

enum class Call : std::uint8_t {
  open,
  stat,
  read_link,
  list,
  read,
  write,
  sync,
  space,   // fallocate, ftruncate
  rename,  // renameat2, unlinkat, mkdirat
  xattr,
  seek,
  mount,
  process,  // fork, pidfd_open, waitpid, signals
  channel,  // socketpair, pipe2, sendmsg, recvmsg
  poll,
  duplicate,
  query,    // uname, capget, limits
  confine,  // prctl, seccomp, landlock
};

}  // namespace ctriage::sys
