#include "lib/core/sys_unix.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

Result<UniqueFd> unix_connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    errno = ENAMETOOLONG;
    return failed("connect to", path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = attempt(Call::channel,
                         [&] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
  if (fd < 0) return failed("connect to", path);
  UniqueFd socket(fd);
  const auto call = [&] {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  };
  if (attempt(Call::channel, call) < 0) return failed("connect to", path);
  return socket;
}

}  // namespace ctriage::sys
