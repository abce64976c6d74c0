#pragma once
// `ls`, `cat` and `cp` of one container of a checkpoint. The image is not in a checkpoint: what the archive
// has not, nobody can tell from it. Two views:
// merged: what the container sees as far as the archive has it: changed files, and over them the mounts whose
//   content is there (tmpfs, Podman's volumes and /dev/shm, Docker's /etc/hosts and the like).
// upper: the changed files alone, also where a mount hides them; with whiteouts.
// In both, files that had no name any more and were open (CRIU's ghosts) stand where they were.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/snapshot.h"
#include "lib/source/checkpoint/ghost.h"
#include "lib/source/checkpoint/layout.h"
#include "lib/source/checkpoint/tasks.h"
#include "lib/source/checkpoint/tree.h"

namespace ctriage::source {

class CheckpointView {
 public:
  // `tasks`: null where there are no images. Both stay with the caller.
  CheckpointView(const CheckpointPart& part, const CheckpointTasks* tasks);

  Status list(const FileKey& key, const Emit<FileEntry>& emit, Task& task);
  Result<OpenedFile> open(const FileKey& key, Task& task);

 private:
  struct Mounted {
    std::string at;
    std::string what;                  // "tmpfs", "ext4 /dev/vda"
    CheckpointStore* store = nullptr;  // null: its content is not in the archive
    std::string stored;                // a tar of a tree, or one file
    bool is_file = false;
    std::string root;  // what of that tree is mounted
  };
  struct Deleted {
    std::string image;
    std::optional<Ghost> ghost;  // nothing: it cannot be read
  };
  // Where a path ends, links followed.
  struct Place {
    std::string path;
    const Mounted* mount = nullptr;  // null: the root file system
    CheckpointTree* tree = nullptr;  // null: there is none, or the mount is one file
    std::string inside;              // the path in that tree
    const TreeNode* node = nullptr;  // null: not in it
  };
  void find_mounts(const CheckpointTasks* tasks);
  void add_mount(Mounted mount);
  Status prepare(const std::string& layer, Task& task);
  [[nodiscard]] const Mounted* mount_over(const std::string& path) const;
  Result<CheckpointTree*> tree_of(CheckpointStore& store, const std::string& tar, bool whiteouts, Task& task);
  Result<Place> place_of(const std::string& path, bool merged, Task& task);
  Result<Place> walk(const FileKey& key, Task& task);
  [[nodiscard]] Error not_here(const Place& place, bool merged) const;
  [[nodiscard]] FileEntry entry_of(const std::string& path, const CheckpointTree& tree,
                                   const TreeNode& node) const;
  [[nodiscard]] FileEntry entry_of(const std::string& path, const Deleted& deleted) const;
  [[nodiscard]] FileEntry entry_of(const Mounted& mount) const;
  Status list_below(const Place& place, bool merged, const Emit<FileEntry>& emit, Task& task);
  Result<FileEntry> entry_of_mount(const Mounted& mount, Task& task);

  const CheckpointPart& part_;
  std::vector<Mounted> mounts_;
  std::multimap<std::string, Deleted> deleted_;     // by path in the container
  std::map<std::string, std::string> ghost_names_;  // by image: read once
  bool prepared_ = false;
  std::map<std::string, std::unique_ptr<CheckpointTree>> trees_;  // by origin
  CheckpointTree* upper_ = nullptr;                               // null: the archive has none
  std::size_t room_bytes_ = kMaxTreeBytes;
};

}  // namespace ctriage::source
