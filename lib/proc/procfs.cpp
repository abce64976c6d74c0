#include <linux/mount.h>

#include "lib/core/sys.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {

namespace {

// Detached: it is in no mount namespace, no path leads to it, and it is gone with its last descriptor.
Result<Root> mount_procfs() {
  const auto context = sys::fsopen("proc");
  if (!context) return context.error();
  if (auto created = sys::fsconfig_create(context->get(), "proc"); !created)
    return std::move(created).error();
  constexpr unsigned kAttributes =
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  auto mounted = sys::fsmount(context->get(), kAttributes, "proc");
  if (!mounted) return std::move(mounted).error();
  Root root = Root::adopt_own_procfs(*std::move(mounted), "/proc");
  // It shows the pid namespace we are in, so it must show us.
  if (auto self = root.stat_beneath(std::to_string(sys::own_pid())); !self) return std::move(self).error();
  return root;
}

}  // namespace

Result<Root> open_procfs(std::string& why) {
  auto own = mount_procfs();
  if (own) return own;
  why = "read through /proc as it is mounted here: " + own.error().what;
  return Root::open("/proc");
}

}  // namespace ctriage::proc
