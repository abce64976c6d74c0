#include "lib/source/live/programs.h"

#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/live/fuse_server.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlock = 1 << 20;

// A path below a mount as a path of the mounted file system: a bind mount shows a part of it elsewhere.
std::string inside_file_system(const Mount& mount, std::string_view path) {
  std::string_view below = path;
  if (mount.mountpoint.raw != "/" && below.starts_with(mount.mountpoint.raw))
    below.remove_prefix(mount.mountpoint.raw.size());
  std::string root = mount.root.raw == "/" ? "" : mount.root.raw;
  return root + std::string(below);
}

// The image's file at the program's path has the very bytes that run.
bool same_as_image(const overlay::Stack& stack, const std::string& path, const Executable& exe, Task& task) {
  const auto found = stack.find_lower(path);
  if (!found || !found->info.is_regular() || found->info.size_bytes != exe.size_bytes) return false;
  auto file = stack.open_lower(*found, path);
  if (!file) return false;
  const auto digest = hash_file(file->get(), path, task);
  return digest && *digest == *exe.sha256;
}

Origin overlay_origin(const overlay::Stack& stack, const std::string& path, const Executable& exe,
                      Task& task) {
  // Too long for the kernel to say. No engine can unpack such a path (PATH_MAX), so the image has none.
  if (exe.path.empty()) return exe.deleted ? Origin::deleted : Origin::upper;
  if (exe.sha256 && same_as_image(stack, path, exe, task)) return Origin::image;
  if (exe.deleted) return Origin::deleted;
  if (path.size() > 1) {
    const auto upper = stack.upper().stat_beneath(std::string_view(path).substr(1));
    if (upper && upper->is_regular()) return Origin::upper;
  }
  const bool in_image = stack.find_lower(path).has_value();
  if (in_image && !exe.sha256) return Origin::image;
  if (!in_image && path.ends_with(proc::kDeleted)) return Origin::deleted;  // another name of it is left
  return Origin::unknown;  // a layer that could not be opened: we did not see the file, so we do not say
                           // where it is from
}

Origin told_unknown(const Process& process, std::string_view why, Task& task) {
  task.gaps.add(
      {Impact::lost,
       "proc.exe",
       "pid " + std::to_string(process.pid) + " " + process.exe.path.raw,
       {Errc::not_found, "where its program or library is from cannot be told: " + std::string(why)}});
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

Result<std::string> hash_source(ByteSource& in) {
  const auto digest = hash_all(in);
  if (!digest) return digest.error();
  return to_hex(*digest);
}

std::optional<std::uint32_t> mount_id(const Root& procfs, int fd) {
  // Linux 5.8 says it at once, statx(2) stx_mnt_id.
  if (const auto info = sys::stat_fd(fd, "mount of an open file");
      info && (info->stx_mask & STATX_MNT_ID) != 0)
    return static_cast<std::uint32_t>(info->stx_mnt_id);
  constexpr std::string_view kKey = "mnt_id:";  // proc_pid_fdinfo(5)
  auto text = procfs.read_file_in_root("self/fdinfo/" + std::to_string(fd), kMaxLineBytes);
  if (!text) return std::nullopt;
  for (const std::string_view line : split(*text, '\n')) {
    if (line.starts_with(kKey)) return parse_number<std::uint32_t>(trim(line.substr(kKey.size())));
  }
  return std::nullopt;
}

Origin program_origin(Node& node, const LiveContainer& live, const Process& process, int program,
                      Task& task) {
  const Executable& exe = process.exe;
  if (live.alone) return Origin::host;
  const auto id = mount_id(node.proc, program);
  if (!id) return told_unknown(process, "its mount is not known", task);

  const auto known = find_mount(node, live, process.pid, *id, task);
  if (!known) {
    // memfd_create(2) files lie in a mount of the kernel's own that no table shows.
    if (exe.path.raw.starts_with("/memfd:")) return Origin::memfd;
    return exe.deleted ? Origin::deleted : told_unknown(process, "it lies in a mount that is gone", task);
  }
  const bool escaped = process.membership == Membership::escaped;
  if (known->of == KnownMount::Of::node || (known->of == KnownMount::Of::process && escaped)) {
    return Origin::host;
  }
  const Mount* mount = &known->mount;
  const bool layered = mount->fstype.raw == "overlay" || mount->fstype.raw == kFuseOverlay;
  if (layered && live.stack && mount->device == live.root_device) {
    const Origin origin = overlay_origin(*live.stack, inside_file_system(*mount, exe.path.raw), exe, task);
    return origin == Origin::unknown ? told_unknown(process, "it is in no layer that could be read", task)
                                     : origin;
  }
  if (mount->device == live.root_device)
    return exe.deleted ? Origin::deleted : Origin::unknown;  // no layers: told once
  if (mount->fstype.raw == "tmpfs") return Origin::tmpfs;
  return Origin::volume;
}

}  // namespace ctriage::source
