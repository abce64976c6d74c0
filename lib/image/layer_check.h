#pragma once
// A directory of the image store against the tar that the layer was made of.
#include <string>

#include "lib/core/task.h"
#include "lib/image/files.h"
#include "lib/model/image.h"

namespace ctriage::image {

constexpr std::size_t kMaxListedDifferences = 100;
constexpr std::size_t kMaxLayerNames = 400'000;       // of one layer, remembered to find what was added
constexpr std::size_t kMaxLayerNameBytes = 24 << 20;  // of these together

struct LayerPlace {
  Files& layer;        // the directory alone, links not followed
  Files& merged;       // the layers laid over each other: where a link of a lower layer leads on the way
  bool owners = true;  // false: a rootless engine has them shifted
};

// Compares every entry of `tar`, plain, with the directory, and looks for what the directory has besides.
// The result is the SHA-256 of the tar, to its end. `contents`: the
// tar has contents of its own (else they are the directory's, RebuiltTar). Whiteouts are told as overlayfs
// and fuse-overlayfs have them.
Result<std::string> compare_layer(ByteSource& tar, const LayerPlace& place, bool contents, LayerCheck& into,
                                  Task& task);

void add_difference(LayerCheck& into, const std::string& path, std::string what);

}  // namespace ctriage::image
