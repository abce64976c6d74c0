// System calls that make mounts nobody else sees.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

namespace {

// <sys/mount.h> and <linux/mount.h> cannot be included together; the raw calls need only the latter.
constexpr unsigned kConfigCreate = FSCONFIG_CMD_CREATE;

}  // namespace

Result<UniqueFd> open_tree_clone(int dir, std::string_view name) {
  constexpr unsigned kFlags =
      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;  // not AT_RECURSIVE: one mount
  const long fd = attempt(Call::mount, [&] { return ::syscall(SYS_open_tree, dir, "", kFlags); });
  if (fd < 0) return failed("clone the mount of", name);
  return UniqueFd(static_cast<int>(fd));
}

Status mount_setattr(int mount, std::uint64_t set, std::uint64_t clear, std::string_view name) {
  ::mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  const auto call = [&] {
    return ::syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
  };
  return done_or(attempt(Call::mount, call), "set the attributes of the clone of", name);
}

Result<UniqueFd> fsopen(const std::string& type) {
  const long fd = attempt(Call::mount, [&] { return ::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC); });
  if (fd < 0) return failed("fsopen", type);
  return UniqueFd(static_cast<int>(fd));
}

Status fsconfig_create(int context, std::string_view name) {
  const auto call = [&] { return ::syscall(SYS_fsconfig, context, kConfigCreate, nullptr, nullptr, 0); };
  return done_or(attempt(Call::mount, call), "create file system", name);
}

Result<UniqueFd> fsmount(int context, unsigned attributes, std::string_view name) {
  const long fd =
      attempt(Call::mount, [&] { return ::syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes); });
  if (fd < 0) return failed("fsmount", name);
  return UniqueFd(static_cast<int>(fd));
}

}  // namespace ctriage::sys
