#include "lib/source/live/fuse_server.h"

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/runtime/processes.h"

namespace ctriage::source {
namespace {

bool is_server(const Root& process) {
  constexpr std::string_view kProgram = "fuse-overlayfs";
  const auto exe = process.read_link_beneath("exe");
  if (!exe) return false;
  const std::string_view path = proc::without_deleted(*exe);
  if (path.substr(path.rfind('/') + 1) != kProgram) return false;
  const auto cgroup = process.read_file_in_root("cgroup", kMaxProcTextBytes);
  return cgroup && !proc::is_in_container(*cgroup);
}

// The mount point ends in what it was told, which may be relative: then so may its layers be, to the same
// directory.
bool is_target(std::string_view mountpoint, const std::string& target, overlay::Options& options) {
  if (mountpoint == target) return true;
  if (target.starts_with('/') || !mountpoint.ends_with("/" + target)) return false;
  options.base = mountpoint.substr(0, mountpoint.size() - target.size() - 1);
  return true;
}

}  // namespace

Result<FuseServer> find_fuse_server(Node& node, const LiveContainer& container, const Mount& root,
                                    Survey& survey, Task& task) {
  const auto pids = proc::list_pids(node.proc);
  if (!pids) return pids.error();
  GapLog unseen;  // of processes that are not the one
  Task quiet = task.with(unseen);
  Error why{Errc::not_found, "no fuse-overlayfs process serves it: its layers are not known"};
  for (const std::int32_t pid : *pids) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const auto process = node.proc.descend(std::to_string(pid));
    if (!process || !is_server(*process)) continue;
    const auto space = proc::read_namespace(*process, "mnt");
    if (!space || space->value == container.mount_namespace) continue;  // one who plays it inside
    const auto mounts = survey.mounts_of(pid, quiet);
    if (!mounts) continue;
    for (const Mount& mount : **mounts) {
      if (mount.device != root.device || mount.fstype.raw != kFuseOverlay) continue;
      auto text = node.readers.read_file(std::to_string(pid) + "/cmdline", kMaxCmdlineBytes, task);
      auto told = text ? overlay::parse_fuse_arguments(runtime::split_arguments(*text))
                       : Result<overlay::FuseMount>(std::move(text).error());
      if (!told) {
        why = std::move(told).error().within("pid " + std::to_string(pid));
        break;
      }
      if (is_target(mount.mountpoint.view(), told->target, told->options))
        return FuseServer{pid, std::move(told->options)};
    }
  }
  return why;
}

}  // namespace ctriage::source
