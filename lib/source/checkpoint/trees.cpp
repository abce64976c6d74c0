#include "lib/source/checkpoint/trees.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kTmpfs = "tmpfs-";
constexpr std::string_view kTmpfsEnd = ".tar.gz.img";
constexpr std::string_view kVolumes = "volumes/";
constexpr std::string_view kTar = ".tar";

// A bind mount of a part of it (a masked path is one of /null in the tmpfs of /dev) says little.
std::string mountpoint_of(const std::string& tar, const CheckpointTasks* tasks) {
  if (tasks == nullptr) return {};
  for (const Mount& mount : tasks->mounts) {
    const auto names = tmpfs_tars_of(mount);
    const bool whole = mount.root.empty() || mount.root.raw == "/";
    if (whole && std::ranges::find(names, tar) != names.end()) return mount.mountpoint.raw;
  }
  return {};
}

void add_beside(const CheckpointPart& part, std::vector<StoredTree>& into) {
  for (const auto& [path, file] : part.base->files()) {
    if (file.type != FileType::regular || !path.starts_with(part.base_dir)) continue;
    const std::string name = path.substr(part.base_dir.size());
    if (name == kDevShmTar) into.push_back({part.base, path, "/dev/shm"});
    if (!name.starts_with(kVolumes) || !name.ends_with(kTar)) continue;
    StoredTree tree{part.base, path, "", true};
    for (const HostMount& mount : part.container.mounts) {
      if (volume_tar_of(mount.source.raw) == name) tree.mountpoint = mount.destination.raw;
    }
    into.push_back(std::move(tree));
  }
}

}  // namespace

std::string volume_tar_of(std::string_view mount_source) {
  const auto parts = split(mount_source, '/');
  if (parts.size() < 3 || parts.back() != "_data" || parts[parts.size() - 3] != "volumes") return {};
  return std::string(kVolumes).append(parts[parts.size() - 2]).append(kTar);
}

std::vector<std::string> tmpfs_tars_of(const Mount& mount) {
  constexpr unsigned kMinorBits = 20;  // of a device number of CRIU's
  const std::uint64_t device = (mount.device.value >> 32U) << kMinorBits | (mount.device.value & 0xfffffU);
  return {fmt::format("{}dev-{}{}", kTmpfs, device, kTmpfsEnd),
          fmt::format("{}{}{}", kTmpfs, mount.id, kTmpfsEnd)};
}

std::vector<StoredTree> trees_of(const CheckpointPart& part, const CheckpointTasks* tasks) {
  std::vector<StoredTree> found;
  if (part.images != nullptr) {
    const auto& files = part.images->files();
    for (auto file = files.lower_bound(part.image_dir);
         file != files.end() && file->first.starts_with(part.image_dir); ++file) {
      const std::string name = file->first.substr(part.image_dir.size());
      if (file->second.type != FileType::regular || !name.starts_with(kTmpfs) || !name.ends_with(kTmpfsEnd))
        continue;
      found.push_back({part.images, file->first, mountpoint_of(name, tasks)});
    }
  }
  if (part.base != nullptr) add_beside(part, found);
  return found;
}

}  // namespace ctriage::source
