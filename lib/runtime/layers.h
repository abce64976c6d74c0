#pragma once
// Where the root file system of a container lies that no process leads to, from what its engine keeps:
//
//   Docker              <data root>/image/overlay2/layerdb/mounts/<id>/mount-id
//                       <data root>/overlay2/<mount id>/{diff, lower}
//   containers/storage  <graph root>/overlay-containers/containers.json: {id, layer}
//                       <graph root>/overlay/<layer>/{diff, lower}
//     lower = "l/NAME:l/NAME", the top first, below the directory of all layers
//   containerd          <root>/io.containerd.metadata.v1.bolt/meta.db, metadata/buckets.go
//                         v1/<namespace>/containers/<id>/{snapshotter, snapshotKey}
//                         v1/<namespace>/snapshots/<snapshotter>/<key>/name
//                       <root>/io.containerd.snapshotter.v1.overlayfs/metadata.db, snapshots/storage/bolt.go
//                         v1/snapshots/<name>/{id uvarint, kind 1 view, 2 active, 3 committed, parent: name}
//                       <root>/io.containerd.snapshotter.v1.overlayfs/snapshots/<id>/fs
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"

namespace ctriage::runtime {

struct RootLayers {
  std::string base;  // what the other paths begin at where they are relative
  std::string upper;
  std::vector<std::string> lowers;  // the top first
};

// Paths of `node`, none of which was opened. Errc::not_found: the engine keeps no layers of it (any more);
// unsupported: not directories that overlayfs puts together; else what is wrong with the records.
Result<RootLayers> find_layers(const Root& node, const Container& container, Task& task);

// The containerd part; `root` is the engine's. Private to lib/runtime.
Result<RootLayers> find_snapshot_layers(const Root& node, const std::string& root, const std::string& space,
                                        const std::string& id);

}  // namespace ctriage::runtime
