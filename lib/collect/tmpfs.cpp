// Group "files": the tmpfs of a container, which are gone with it. Their bytes in OCI layer form, as for the
// UpperDir; what that form cannot say (sockets, the SHA-256 of each file) is in the .jsonl beside it.
#include <algorithm>

#include "lib/collect/layer.h"
#include "lib/model/tree.h"
#include "lib/overlay/tree.h"

namespace ctriage::collect {
namespace {

using source::HeldTmpfs;
using source::LiveContainer;

class TakeTree final : public ToLayer {
 public:
  TakeTree(Collection& in, const std::string& mount, archive::LayerWriter& layer, bundle::Stream& files)
      : ToLayer(layer), in_(in), mount_(mount), files_(files) {}

  Status change(FileChange&& change) override {
    TreeFile found;
    found.container = std::move(change.container);
    found.mount = Bytes(mount_);
    found.path = Bytes(in_container(change.path.raw));
    if (change.after) found.file = *std::move(change.after);
    if (change.hard_link_of) found.hard_link_of = Bytes(in_container(change.hard_link_of->raw));
    found.program = change.program;
    found.partial = std::move(change.partial);
    return in_.write(files_, found);
  }

 private:
  [[nodiscard]] std::string in_container(const std::string& path) const {
    if (mount_ == "/") return path;
    return path == "/" ? mount_ : mount_ + path;
  }

  Collection& in_;
  const std::string mount_;
  bundle::Stream& files_;
};

std::string stem_of(const HeldTmpfs& held) {
  return "tmpfs/" + bundle::member_name(std::string_view(held.mountpoint).substr(1));
}

Status take_tmpfs_of(Collection& in, const LiveContainer& live, const HeldTmpfs& held) {
  const std::string path = in.bulk_path(in.path_of(live, stem_of(held) + ".tar"));
  const std::string list = in.path_of(live, stem_of(held) + ".jsonl");
  const auto slash = held.mountpoint.rfind('/');
  const std::string parent = held.mountpoint.substr(0, slash);
  const std::string mount = held.directory ? held.mountpoint : parent.empty() ? std::string("/") : parent;
  const auto is_known = [&](std::string_view below) {
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
      in.task.gaps.add(
          {Impact::lost, "container.tmpfs", mountpoint,
           Error{Errc::outside, there->fstype.raw +
                                    " was mounted over it from inside: what lies below in the tmpfs "
                                    "is not seen"}});
    return true;
  };
  const overlay::PlainTree tree{*held.root, in.snapshot.node().touched, live.container.id, is_known};
  const WalkTree walk = [&](archive::LayerWriter& layer, bundle::Stream& files) {
    TakeTree visitor(in, mount, layer, files);
    return held.directory ? overlay::walk_plain(tree, visitor, in.task)
                          : overlay::take_plain_file(tree, held.root->fd(), held.mountpoint.substr(slash),
                                                     visitor, in.task);
  };
  auto taken = take_layer(in, {path, list, "tmpfs " + held.mountpoint}, "container.tmpfs", walk);
  if (!taken) return std::move(taken).error();
  if (*taken) ++in.counts.tmpfs;
  return Done{};
}

}  // namespace

Status take_tmpfs(Collection& in) {
  Status going = Done{};
  for (const LiveContainer& live : in.snapshot.containers()) {
    for (const HeldTmpfs& held : live.tmpfs) {
      if (going) {
        going = take_tmpfs_of(in, live, held);
        continue;
      }
      const std::string path = in.bulk_path(in.path_of(live, stem_of(held) + ".tar"));
      in.task.gaps.add({Impact::lost, "container.tmpfs", path, Error(going.error()).within("not reached")});
      in.out.not_collected(path, "tmpfs " + held.mountpoint, "not reached: " + going.error().what);
    }
  }
  return going;
}

}  // namespace ctriage::collect
