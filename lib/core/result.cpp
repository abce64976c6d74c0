#include "lib/core/result.h"

#include <cerrno>
#include <cstring>

namespace ctriage {

namespace {

Errc code_of(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return Errc::not_found;
    case ESRCH:   // a /proc file of a process that has ended, proc(5)
    case ESTALE:  // a file that the server of a network file system no longer has
      return Errc::vanished;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::denied;
    case ELOOP:  // RESOLVE_NO_SYMLINKS and O_NOFOLLOW, openat2(2)
    case EXDEV:  // RESOLVE_BENEATH
      return Errc::outside;
    case ENAMETOOLONG:
    case E2BIG:
    case EOVERFLOW:
      return Errc::limit;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Errc::full;
    case ENOSYS:
    case EOPNOTSUPP:
      return Errc::unsupported;
    case ETIMEDOUT:
      return Errc::timeout;
    case EINTR:
      return Errc::stopped;
    default:
      return Errc::io;
  }
}

}  // namespace

Error system_error(int number, std::string_view tried) {
  char room[128];
  // The GNU strerror_r: thread safe, and gives a string of its own where it has one, strerror(3).
  const char* text = ::strerror_r(number, room, sizeof room);
  return Error{code_of(number), std::string(tried).append(": ").append(text), number};
}

}  // namespace ctriage
