#pragma once
// How the layers of a container's image were made, from the image's configuration, which the engine keeps:
//
//   Docker              <data root>/image/overlay2/imagedb/content/sha256/<image id>
//   containers/storage  <graph root>/overlay-images/<image id>/=<base64 of "sha256:<image id>">
//   containerd          <root>/io.containerd.metadata.v1.bolt/meta.db
//                         v1/<namespace>/containers/<id>/image, v1/<namespace>/images/<name>/target/digest
//                       <root>/io.containerd.content.v1.content/blobs/sha256/<hex>: an index, which names a
//                         manifest for each platform, which names the configuration
//
// OCI image-spec config.md: {rootfs: {diff_ids: ["sha256:...", the lowest first]},
//                            history: [{created_by, empty_layer}]}    one without empty_layer for each
//                            diff_id
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/values.h"
#include "lib/model/container.h"

namespace ctriage::runtime {

constexpr std::size_t kMaxImageJsonBytes = 4 << 20;

struct ImageLayer {
  std::string digest;            // diff id, "sha256:..."
  std::optional<Bytes> made_by;  // nothing where the history does not fit the layers
};

// Lowest first. Errc::not_found where the engine does not keep it (any more); malformed, limit, mismatch: its
// bytes are not those that its name says.
Result<std::vector<ImageLayer>> find_image_layers(const Root& node, const Container& container);

// containerd: the digests of the layers as they are stored, compressed or not, lowest first. Errors as above.
Result<std::vector<std::string>> find_layer_blobs(const Root& node, const Container& container);

// The parts, in image_layers_json.cpp.
Result<std::vector<ImageLayer>> parse_image_config(std::string_view json);
// Of an image's manifest or index: the digest of the configuration, or of the manifest for `machine`
// (uname(2)), which of the two `is_config` says.
struct ImageReference {
  std::string digest;
  bool is_config = false;
  std::vector<std::string> layers = {};  // of a manifest: the digests of their blobs
};
Result<ImageReference> parse_image_manifest(std::string_view json, std::string_view machine);

}  // namespace ctriage::runtime
