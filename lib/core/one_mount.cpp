#include "lib/core/one_mount.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include "lib/core/sys.h"

namespace ctriage {

Result<UniqueFd> pin_on_mount(const Root& directory, std::string_view name) {
  constexpr std::uint64_t kResolve =
      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return sys::openat2(directory.fd(), name, O_PATH | O_NOFOLLOW, kResolve);
}

}  // namespace ctriage
