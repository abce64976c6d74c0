#include "lib/source/programs.h"

#include <array>

#include "lib/core/hash.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlock = 1 << 20;

bool below(std::string_view path, std::string_view mountpoint) {
  if (mountpoint == "/") return path.starts_with("/");
  return path.starts_with(mountpoint) && (path.size() == mountpoint.size() || path[mountpoint.size()] == '/');
}

// The mount a path lies in: the longest mount point that is its prefix, the later line where two are equal.
const Mount* mount_of(const std::vector<Mount>& mounts, std::string_view path) {
  const Mount* best = nullptr;
  for (const Mount& mount : mounts) {
    if (!below(path, mount.mountpoint.raw)) continue;
    if (best == nullptr || mount.mountpoint.raw.size() >= best->mountpoint.raw.size()) best = &mount;
  }
  return best;
}

bool has_device(const std::vector<Mount>& mounts, Hex device) {
  for (const Mount& mount : mounts) {
    if (mount.device == device) return true;
  }
  return false;
}

// Does the program's path, looked up in the root directory of `pid`, lead to the very inode that runs?
bool reachable(const Root& procfs, std::int32_t pid, const Process& process) {
  auto root = procfs.descend_magic(std::to_string(pid) + "/root");
  if (!root) return false;
  auto info = root->stat_in_root(process.exe.path.raw);
  if (!info) return false;
  const std::uint64_t device = std::uint64_t{info->dev_major} << 32 | info->dev_minor;
  return info->inode == process.exe.inode.value && device == process.exe.device.value;
}

// The image's file at the program's path has the very bytes that run.
bool same_as_image(const overlay::Stack& stack, const Executable& exe, Task& task) {
  const auto found = stack.find_lower(exe.path.raw);
  if (!found || !found->info.is_regular() || found->info.size_bytes != exe.size_bytes) return false;
  auto file = stack.open_lower(*found, exe.path.raw);
  if (!file) return false;
  const auto digest = hash_file(file->get(), exe.path.raw, task);
  return digest && *digest == *exe.sha256;
}

Origin overlay_origin(const LiveContainer& live, const Executable& exe, Task& task) {
  if (!live.stack) return exe.deleted ? Origin::deleted : Origin::unknown;
  if (exe.sha256 && same_as_image(*live.stack, exe, task)) return Origin::image;
  if (exe.deleted) return Origin::deleted;
  const std::string_view name = std::string_view(exe.path.raw).substr(1);
  const auto upper = live.stack->upper().stat_beneath(name);
  if (upper && upper->is_regular()) return Origin::upper;
  if (!exe.sha256 && live.stack->find_lower(exe.path.raw)) return Origin::image;
  // A link on the way, or a layer that could not be opened: we did not see the file, so we do not say where
  // it is from.
  task.gaps.add({Impact::degraded,
                 "process.exe",
                 "pid of " + exe.path.raw,
                 {Errc::not_found, "found neither in the UpperDir nor, with these bytes, in the image"}});
  return Origin::unknown;
}

}  // namespace

Result<std::string> hash_file(int fd, std::string_view name, const Task& task) {
  Sha256 hash;
  std::vector<std::byte> block(kBlock);
  std::uint64_t at = 0;
  for (;;) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    auto got = sys::pread(fd, block, at, name);
    if (!got) return std::move(got).error();
    if (*got == 0) return to_hex(hash.digest());
    hash.update(std::span(block).first(*got));
    at += *got;
  }
}

Origin program_origin(const Root& procfs, const LiveContainer& live, const Process& process, Task& task) {
  const Executable& exe = process.exe;
  if (live.alone || process.membership == Membership::escaped) return Origin::host;
  const bool mounted = has_device(live.mounts, exe.device);
  // memfd_create(2) files lie in a mount of the kernel's own; a real file of that name lies in one of the
  // container's.
  if (exe.deleted && !mounted && exe.path.raw.starts_with("/memfd:")) return Origin::memfd;

  const Mount* mount = mount_of(live.mounts, exe.path.raw);
  if (mount == nullptr) return Origin::unknown;
  const bool in_overlay = mount->fstype.raw == "overlay" && mount->mountpoint.raw == "/";
  if (!exe.deleted && !reachable(procfs, process.pid, process)) {
    // Came from outside and still runs the program it was started with; else its file is mounted over.
    return reachable(procfs, proc::node_process(procfs), process) ? Origin::host : Origin::unknown;
  }
  if (in_overlay) return overlay_origin(live, exe, task);
  if (mount->fstype.raw == "tmpfs") return Origin::tmpfs;
  return Origin::volume;
}

}  // namespace ctriage::source
