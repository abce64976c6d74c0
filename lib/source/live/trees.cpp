#include "lib/source/live/trees.h"

#include <algorithm>
#include <map>

#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/overlay/tree.h"

namespace ctriage::source {
namespace {

using overlay::Part;
using overlay::Wish;

constexpr std::int64_t kClockSlackSeconds = 2;  // the start is told in ticks since a boot that was rounded
constexpr std::uint64_t kMaxTreeNames = 2'000'000;    // that are looked at, of one tree
constexpr std::uint64_t kMaxTreeRecords = 500'000;    // of one tree
constexpr std::uint64_t kMaxHashedFile = 512 << 20;   // apparent size
constexpr std::uint64_t kMaxHashedTree = 4ULL << 30;  // of one tree

class ListTree final : public overlay::Visitor {
 public:
  ListTree(std::string mount, std::optional<Timestamp> since, const Emit<TreeFile>& emit)
      : mount_(std::move(mount)), since_(since), emit_(emit) {}

  Wish wish(const FileInfo& info) {
    if (since_ && info.ctime < *since_ && !(info.btime && *info.btime >= *since_)) return {Part::nothing};
    if (records_ >= kMaxTreeRecords) {
      ++unlisted_;
      return {Part::nothing};
    }
    ++records_;
    if (!info.is_regular()) return {};
    if (info.size_bytes > kMaxHashedFile || hashed_bytes_ + info.size_bytes > kMaxHashedTree)
      return {Part::state, "too large to be hashed for a list"};
    hashed_bytes_ += info.size_bytes;
    return {};
  }
  Status begin(const FileChange&, std::span<const archive::DataRun>) override { return Done{}; }
  Status data(std::uint64_t, std::span<const std::byte>, const std::shared_ptr<LateSha256>&) override {
    return Done{};
  }
  Status end() override { return Done{}; }
  Status change(FileChange&& change) override { return emit_(tree_file_of(std::move(change), mount_)); }

  void tell(Task& task) const {
    if (unlisted_ == 0) return;
    task.gaps.add({Impact::lost, "trees", mount_,
                   Error{Errc::limit, counted(unlisted_, "name is", "names are") +
                                          " not listed: " + with_commas(records_) + " of this tree are"}});
  }

 private:
  std::string mount_;
  std::optional<Timestamp> since_;
  const Emit<TreeFile>& emit_;
  std::uint64_t records_ = 0;
  std::uint64_t unlisted_ = 0;
  std::uint64_t hashed_bytes_ = 0;
};

Status walk_tree(overlay::PlainTree tree, bool directory, const std::string& mountpoint, ListTree& visitor,
                 Task& task) {
  tree.wish = [&](std::string_view, const FileInfo& info) { return visitor.wish(info); };
  tree.most_names = kMaxTreeNames;
  auto walked = directory ? overlay::walk_plain(tree, visitor, task)
                          : overlay::take_plain_file(tree, tree.top.fd(),
                                                     mountpoint.substr(mountpoint.rfind('/')), visitor, task);
  visitor.tell(task);
  return walked;
}

Status list_volume(LiveSnapshot& snapshot, LiveContainer& live, const Volume& volume,
                   const Emit<TreeFile>& emit, Task& task) {
  const std::string& mountpoint = volume.mount.mountpoint.raw;
  auto opened = open_volume(snapshot.node(), live, volume, task);
  if (!opened) {
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({Impact::lost, "container.volumes", mountpoint, std::move(opened).error()});
    return Done{};
  }
  std::optional<Timestamp> since;
  if (volume.kind == VolumeKind::system) {
    since = start_of(snapshot.node(), live.container);
    task.gaps.add(
        {Impact::note, "container.volumes", mountpoint,
         Error{Errc::limit, volume.source + " of the node: only what is newer than the container"}});
  }
  ListTree visitor(top_of(mountpoint, opened->directory), since, emit);
  const auto is_known = [&](std::string_view below) {
    const std::string place = (mountpoint == "/" ? "" : mountpoint) + std::string(below);
    return std::ranges::any_of(live.mounts,
                               [&](const Mount& mount) { return mount.mountpoint.raw == place; });
  };
  return walk_tree({opened->root, snapshot.node().touched, live.container.id, is_known}, opened->directory,
                   mountpoint, visitor, task);
}

}  // namespace

std::string top_of(const std::string& mountpoint, bool directory) {
  return directory ? mountpoint : parent_of(mountpoint);
}

std::string in_container(const std::string& mount, const std::string& path) {
  if (mount == "/") return path;
  return path == "/" ? mount : mount + path;
}

TreeFile tree_file_of(FileChange&& change, const std::string& mount) {
  TreeFile found;
  found.container = std::move(change.container);
  found.mount = Bytes(mount);
  found.path = Bytes(in_container(mount, change.path.raw));
  if (change.after) found.file = *std::move(change.after);
  if (change.hard_link_of) found.hard_link_of = Bytes(in_container(mount, change.hard_link_of->raw));
  found.program = change.program;
  found.partial = std::move(change.partial);
  return found;
}

bool is_known_in_tmpfs(const LiveContainer& live, const HeldTmpfs& held, std::string_view below, Task& task) {
  const std::string mountpoint = (held.mountpoint == "/" ? "" : held.mountpoint) + std::string(below);
  const auto there =
      std::ranges::find_if(live.mounts, [&](const Mount& m) { return m.mountpoint.raw == mountpoint; });
  if (there == live.mounts.end()) return false;
  // Made by the engine over an empty directory; by whom else, over whatever lay there.
  const bool of_spec = std::ranges::any_of(
      live.container.mounts, [&](const HostMount& asked) { return asked.destination.raw == mountpoint; });
  const bool of_kernel =
      mountpoint.starts_with("/sys/") || mountpoint.starts_with("/proc/");  // cgroups, masks
  if (!of_spec && !of_kernel && mountpoint != "/dev/console" && live.container.engine != "none")
    task.gaps.add({Impact::lost, "container.tmpfs", mountpoint,
                   Error{Errc::outside, there->fstype.raw +
                                            " was mounted over it from inside: what lies below in the tmpfs "
                                            "is not seen"}});
  return true;
}

Timestamp start_of(const Node& node, const Container& container) {
  std::optional<Timestamp> at = container.started_at ? container.started_at : container.created_at;
  if (container.init_start_ticks != 0) {  // else it has ended
    const Timestamp by_init = proc::time_of_ticks(node.clock, container.init_start_ticks);
    if (!container.started_at || by_init < *at) at = by_init;
  }
  if (!at) return Timestamp{};
  at->seconds -= kClockSlackSeconds;
  return *at;
}

Status list_trees(LiveSnapshot& snapshot, LiveContainer& live, const Emit<TreeFile>& emit, Task& task) {
  if (live.ended)
    task.gaps.add(
        {Impact::note, "trees", live.container.id, {Errc::vanished, "it has ended: its tmpfs are gone"}});
  for (const HeldTmpfs& held : live.tmpfs) {
    if (!held.root) continue;  // told by the hold
    const auto is_known = [&](std::string_view below) { return is_known_in_tmpfs(live, held, below, task); };
    ListTree visitor(top_of(held.mountpoint, held.directory), std::nullopt, emit);
    auto walked = walk_tree({*held.root, snapshot.node().touched, live.container.id, is_known},
                            held.directory, held.mountpoint, visitor, task);
    if (!walked) return walked;
  }
  for (const Gap& gap : live.volume_gaps) task.gaps.add(gap);
  for (const Volume& volume : live.volumes) {
    if (auto listed = list_volume(snapshot, live, volume, emit, task); !listed) return listed;
  }
  return Done{};
}

}  // namespace ctriage::source
