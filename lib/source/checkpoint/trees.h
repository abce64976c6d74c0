#pragma once
// Tars in a checkpoint that have the files of a mount: CRIU's of tmpfs, Podman's of /dev/shm and of volumes.
// Not for other modules.
#include <string>
#include <vector>

#include "lib/source/checkpoint/layout.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {

struct StoredTree {
  CheckpointStore* store = nullptr;
  std::string tar;
  std::string mountpoint;  // of its top; empty: not known
  bool volume = false;     // else a tmpfs
};
// Each once, whatever is mounted of it and where. `tasks` null: there are no images.
std::vector<StoredTree> trees_of(const CheckpointPart& part, const CheckpointTasks* tasks);

// Podman's archive has .../volumes/NAME/_data as volumes/NAME.tar; empty: the mount is none.
std::string volume_tar_of(std::string_view mount_source);
constexpr std::string_view kDevShmTar = "devshm-checkpoint.tar";
// Names of the tmpfs that a mount shows a part of, in the order in which CRIU's versions have them.
std::vector<std::string> tmpfs_tars_of(const Mount& mount);

}  // namespace ctriage::source
