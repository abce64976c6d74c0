// Group "files": the tmpfs of a container, which are gone with it. Their bytes in OCI layer form, as for the
// UpperDir; what that form cannot say (sockets, the SHA-256 of each file) is in the .jsonl beside it.
#include "lib/collect/tree.h"
#include "lib/overlay/tree.h"
#include "lib/source/live/trees.h"

namespace ctriage::collect {
namespace {

using source::HeldTmpfs;
using source::LiveContainer;

Status take_tmpfs_of(Collection& in, const LiveContainer& live, const HeldTmpfs& held) {
  const std::string path = in.bulk_path(in.path_of(live, stem_of("tmpfs", held.mountpoint) + ".tar"));
  const std::string list = in.path_of(live, stem_of("tmpfs", held.mountpoint) + ".jsonl");
  const auto slash = held.mountpoint.rfind('/');
  const std::string mount = source::top_of(held.mountpoint, held.directory);
  const auto is_known = [&](std::string_view below) {
    return source::is_known_in_tmpfs(live, held, below, in.task);
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
      const std::string path = in.bulk_path(in.path_of(live, stem_of("tmpfs", held.mountpoint) + ".tar"));
      in.task.gaps.add({Impact::lost, "container.tmpfs", path, Error(going.error()).within("not reached")});
      in.out.not_collected(path, "tmpfs " + held.mountpoint, "not reached: " + going.error().what);
    }
  }
  return going;
}

}  // namespace ctriage::collect
