#pragma once
// The image store itself: are the lower directories of a container what the layers were? SEMANTICS.md.
#include <string>

#include "lib/archive/bytes_at.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/image/files.h"
#include "lib/model/container.h"
#include "lib/model/image.h"
#include "lib/model/snapshot.h"

namespace ctriage::image {

// Every layer of `container`'s image, and where one cannot be verified all files against their packages.
// `node`: the / that the engine's records and its store lie below.
Result<ImageVerifyResult> verify(Snapshot& snapshot, const Container& container, const Root& node,
                                 Task& task);

// What a layer's tar is, or is made of.
struct StoredLayer {
  enum class Form : std::uint8_t { tar_split, blob } form = Form::blob;
  std::string path;  // on the node
};
// Docker's chain id, image-spec config.md "Layer ChainID", of the diff ids up to `count`.
std::string chain_id(const std::vector<std::string>& diff_ids, std::size_t count);

// A file that may be compressed, in order, plain. Keeps what it is made of.
Result<std::unique_ptr<ByteSource>> open_plain(const Root& node, const std::string& path, const Task& task);

}  // namespace ctriage::image
