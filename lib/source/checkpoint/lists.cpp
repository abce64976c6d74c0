// What a checkpoint has beside its images and its layer: the files of mounts, and what the specification
// asked to mount.
#include <algorithm>

#include "lib/source/checkpoint/source.h"
#include "lib/source/checkpoint/tree.h"
#include "lib/source/checkpoint/trees.h"
#include "lib/source/live/posture.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

constexpr unsigned kMaxDepth = 128;  // of directories of a tree

class WalkStored {
 public:
  WalkStored(const std::string& container, const std::string& mount, const CheckpointTree& tree,
             const Emit<TreeFile>& emit, Task& task)
      : container_(container), mount_(mount), tree_(tree), emit_(emit), task_(task) {}

  Status walk(const std::string& directory, unsigned depth) {
    if (depth > kMaxDepth) {
      task_.gaps.add({Impact::lost, "trees", tree_.origin(), Error{Errc::limit, "too deep: " + directory}});
      return Done{};
    }
    return tree_.each_child(directory, [&](const std::string& name, const TreeNode& node) -> Status {
      if (auto go_on = task_.check(); !go_on) return go_on;
      const std::string path = (directory == "/" ? "" : directory) + "/" + name;
      if (auto emitted = emit_(file_of(path, node)); !emitted) return emitted;
      return node.type == FileType::directory ? walk(path, depth + 1) : Status(Done{});
    });
  }

 private:
  // A tar has one time of each and no inode numbers.
  [[nodiscard]] TreeFile file_of(const std::string& path, const TreeNode& node) const {
    TreeFile found;
    found.container = container_;
    found.mount = Bytes(mount_);
    found.path = Bytes((mount_ == "/" ? "" : mount_) + path);
    found.file.type = node.type;
    found.file.mode = node.mode;
    found.file.uid = node.uid;
    found.file.gid = node.gid;
    found.file.size_bytes = node.size_bytes;
    found.file.mtime = node.mtime;
    if (node.type == FileType::symlink) found.file.link_target = Bytes(node.link);
    found.program = node.type == FileType::regular && (node.mode & 0111U) != 0;
    return found;
  }

  const std::string& container_;
  const std::string& mount_;
  const CheckpointTree& tree_;
  const Emit<TreeFile>& emit_;
  Task& task_;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> CheckpointSnapshot::open_log(const LogFile& log, Task& task) {
  auto held = find(log.container);
  if (!held) return std::move(held).error();
  CheckpointStore* store = (*held)->part.base;
  if (store == nullptr) return Snapshot::open_log(log, task);
  auto bytes = store->bytes_of(log.stream);
  if (!bytes) return std::move(bytes).error();
  return archive::in_order(*std::move(bytes), 0, log.size_bytes, task);
}

Status CheckpointSnapshot::list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) {
  auto held = find(container);
  if (!held) return std::move(held).error();
  const auto& tasks = (*held)->tasks;
  const std::vector<StoredTree> trees = trees_of((*held)->part, tasks ? &*tasks : nullptr);
  if (trees.empty()) return Snapshot::list_trees(container, emit, task);
  std::size_t room = kMaxTreeBytes;
  for (const StoredTree& stored : trees) {
    CheckpointTree tree(*stored.store, stored.tar, false);
    if (auto loaded = tree.load(room, task); !loaded) return loaded;
    tree.settle();
    if (stored.mountpoint.empty())
      task.gaps.add(
          {Impact::note, "trees", tree.origin(),
           Error{Errc::not_found, "where it was mounted is not known: its paths begin at its top"}});
    const std::string mount = stored.mountpoint.empty() ? "/" : stored.mountpoint;
    if (auto walked = WalkStored(container, mount, tree, emit, task).walk("/", 0); !walked) return walked;
  }
  return Done{};
}

// What the specification asked for: nobody saw the mount tables of the node.
Status CheckpointSnapshot::list_postures(const Emit<Posture>& emit, Task& task) {
  for (const Held& held : held_) {
    const Container& container = held.part.container;
    if (held.part.base == nullptr) {
      task.gaps.add({Impact::note,
                     "container.posture",
                     container.id,
                     {Errc::unsupported, "images alone: there is no specification"}});
      continue;
    }
    Posture posture;
    posture.container = container.id;
    posture.name = container.name;
    posture.read_only_root = container.read_only_root;
    posture.uid = container.uid;
    posture.no_new_privs = container.no_new_privs;
    posture.seccomp = container.seccomp ? 2 : 0;
    const auto has = [&](std::string_view right) {
      return std::ranges::find(container.rights, right) != container.rights.end();
    };
    posture.privileged = has("priv");
    posture.host_pid = has("hostPID");
    posture.host_ipc = has("hostIPC");
    posture.host_network = has("hostNetwork");
    for (const HostMount& mount : container.mounts) {
      if (!mount.source.raw.starts_with('/')) continue;
      const bool read_only = std::ranges::find(mount.options, Bytes("ro")) != mount.options.end();
      posture.grants.push_back(
          {mount.destination, mount.source, mount.type, kind_of_source(mount.source.view()), !read_only});
    }
    if (auto emitted = emit(std::move(posture)); !emitted) return emitted;
  }
  task.gaps.add(
      {Impact::note,
       "container.posture",
       checkpoint_.stores.front()->name(),
       {Errc::unsupported, "as the specification asked for it; tokens and execs are not in a checkpoint"}});
  return Done{};
}

}  // namespace ctriage::source
