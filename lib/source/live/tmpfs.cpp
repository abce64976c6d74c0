#include "lib/source/live/tmpfs.h"

#include <algorithm>
#include <array>

#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"
#include "lib/source/live/volumes.h"

namespace ctriage::source {
namespace {

// The runtime hides parts of /proc and /sys under tmpfs in which nothing is.
bool is_empty_mask(const std::string& mountpoint, const Root& directory) {
  if (!is_at_or_below(mountpoint, "/proc") && !is_at_or_below(mountpoint, "/sys")) return false;
  const auto block = list_names(directory, "", 1);
  return block && block->names.empty();
}

// Engines mount over their own: cgroups below /sys, what the spec has at the same place. One more than the
// spec has is somebody else's.
bool is_covered_by_engine(const LiveContainer& container, const std::string& path) {
  if (container.container.engine == "none") return false;
  if (is_at_or_below(path, "/sys") || is_at_or_below(path, "/proc")) return true;
  const auto asked = std::ranges::count(container.container.mounts, Bytes(path), &HostMount::destination);
  const auto there = std::ranges::count(container.mounts, Bytes(path), &Mount::mountpoint);
  return there <= asked;
}

}  // namespace

Result<std::optional<PinnedMount>> pin_mount(const Root& procfs, const Root& root, const Mount& mount) {
  const std::string& path = mount.mountpoint.raw;
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return Error{Errc::malformed, path + ": no mount point"};
  const std::string name = slash + 1 == path.size() ? "." : path.substr(slash + 1);
  auto parent = root.descend_in_root(slash == 0 ? "/" : path.substr(0, slash));
  if (!parent) return std::move(parent).error();
  auto pinned = parent->pin_beneath(name);
  if (!pinned) return std::move(pinned).error();
  const auto id = mount_id(procfs, pinned->get());
  if (!id) return Error{Errc::io, path + ": which mount it is cannot be told"};
  if (*id != mount.id) return std::optional<PinnedMount>{};
  auto info = file_info(pinned->get(), path);
  if (!info) return std::move(info).error();
  return std::optional<PinnedMount>(PinnedMount{*std::move(pinned), info->is_directory()});
}

std::string true_source(const Mount& mount, const std::vector<Mount>& of_node) {
  const Mount* best = nullptr;
  for (const Mount& candidate : of_node) {
    if (candidate.device != mount.device || !is_at_or_below(mount.root.raw, candidate.root.raw)) continue;
    if (best == nullptr || candidate.root.raw.size() > best->root.raw.size()) best = &candidate;
  }
  if (best == nullptr) return {};
  std::string_view rest = mount.root.raw;
  if (best->root.raw != "/") rest.remove_prefix(best->root.raw.size());
  if (rest == "/") rest = {};
  return best->mountpoint.raw == "/" ? std::string(rest.empty() ? "/" : rest)
                                     : best->mountpoint.raw + std::string(rest);
}

bool is_empty_dir(std::string_view source) {
  return source.find("/volumes/kubernetes.io~empty-dir/") != std::string_view::npos;
}

bool is_secret(std::string_view source) {
  constexpr std::array<std::string_view, 4> kKinds = {"secret", "projected", "configmap", "downward-api"};
  return std::ranges::any_of(kKinds, [source](std::string_view kind) {
    return source.find("/volumes/kubernetes.io~" + std::string(kind) + "/") != std::string_view::npos;
  });
}

TmpfsOwner owner_of_tmpfs(const Mount& mount, const std::vector<Mount>& of_node) {
  const std::string source = true_source(mount, of_node);
  if (source.empty()) return TmpfsOwner::container;
  if (is_empty_dir(source)) return TmpfsOwner::container;
  if (is_secret(source)) return TmpfsOwner::secrets;
  // Engines make /dev/shm on the node, <engine>/.../ID/shm; the node's own is mounted with hostIPC.
  if (mount.mountpoint.raw == "/dev/shm" && source != "/dev/shm" && source.ends_with("/shm"))
    return TmpfsOwner::container;
  return TmpfsOwner::node;
}

void hold_tmpfs(Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  const auto is_tmpfs = [](const Mount& mount) { return mount.fstype.raw == "tmpfs"; };
  if (container.alone || std::ranges::none_of(container.mounts, is_tmpfs)) return;
  auto root = node.proc.descend_magic(proc::live_path(node.proc, container.container.init_pid) + "/root");
  auto of_node = proc::read_mounts(node.proc, node.host, task);
  if (!root || !of_node) {
    task.gaps.add({Impact::lost, "container.tmpfs", container.container.id,
                   !root ? std::move(root).error() : std::move(of_node).error()});
    return;
  }
  std::uint64_t crowded = 0;
  std::vector<const Mount*> shown;
  for (const Mount& mount : container.mounts) {
    if (!is_tmpfs(mount)) continue;
    const std::string& path = mount.mountpoint.raw;
    const TmpfsOwner owner = owner_of_tmpfs(mount, *of_node);
    if (const Mount* server = server_on_the_way(container, path)) {
      task.gaps.add(
          {Impact::lost, "container.tmpfs", path,
           Error{Errc::outside, "not held: the way to it leads over " + server->fstype.raw + " at " +
                                    server->mountpoint.raw + ", whose server may never answer"}});
      continue;
    }
    auto pinned = pin_mount(node.proc, *root, mount);
    if (!pinned) {
      task.gaps.add({Impact::lost, "container.tmpfs", path, std::move(pinned).error()});
      continue;
    }
    if (!*pinned) {
      if (owner == TmpfsOwner::container && !is_covered_by_engine(container, path))
        task.gaps.add(
            {Impact::lost, "container.tmpfs", path,
             Error{Errc::outside, "another mount lies over this tmpfs: what is in it is not seen"}});
      continue;
    }
    if (owner != TmpfsOwner::container) {
      // Files are what engines mount over /etc/hosts and its like: named in the mount table. What of the node
      // it may write to is a volume: volumes.h.
      if ((*pinned)->directory && (owner == TmpfsOwner::secrets || !is_writable(mount))) {
        task.gaps.add(
            {Impact::note, "container.tmpfs", path,
             Error{Errc::unsupported, owner == TmpfsOwner::secrets
                                          ? std::string(kSecretsNotTaken)
                                          : true_source(mount, *of_node) +
                                                " of the node is mounted here: its bytes are not taken"}});
      }
      continue;
    }
    HeldTmpfs held;
    held.mountpoint = path;
    held.directory = (*pinned)->directory;
    held.root = Root::adopt(std::move((*pinned)->fd), path);
    held.root->count_access_times(node.touched);
    if (held.directory && is_empty_mask(path, *held.root)) continue;
    // Bind mounts show the same files again.
    const auto first = std::ranges::find_if(shown, [&](const Mount* other) {
      return other->device == mount.device && is_at_or_below(mount.root.raw, other->root.raw);
    });
    if (first != shown.end() && !held.directory) continue;  // /dev/null over parts of /proc
    if (first != shown.end()) {
      task.gaps.add(
          {Impact::note, "container.tmpfs", path,
           Error{Errc::unsupported, "shows what " + (*first)->mountpoint.raw + " shows: taken once"}});
      continue;
    }
    shown.push_back(&mount);
    if (node.descriptors_for_files == 0) {
      ++crowded;
      continue;
    }
    --node.descriptors_for_files;
    container.tmpfs.push_back(std::move(held));
    ++counts.tmpfs;
  }
  if (crowded > 0) {
    task.gaps.add({Impact::lost, "container.tmpfs", container.container.id,
                   Error{Errc::limit, no_room_for(counted(crowded, "tmpfs mount", "tmpfs mounts"))}});
  }
}

}  // namespace ctriage::source
