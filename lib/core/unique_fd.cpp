#include "lib/core/unique_fd.h"

#include "lib/core/sys.h"

namespace ctriage {

void UniqueFd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd);
  if (old >= 0 && old != fd) sys::close(old);
}

}  // namespace ctriage
