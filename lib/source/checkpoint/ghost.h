#pragma once
// A file without a name whose content CRIU kept: ghost-file-<hex>.img.
#include <memory>
#include <string>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/file.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

struct Ghost {
  FileState file;
  std::uint64_t offset = 0;  // of the content, or of its chunks, in the image
  bool chunks = false;
};
// The head of an image of `store`, which stays with the caller, as `task` does.
Result<Ghost> read_ghost(CheckpointStore& store, const std::string& image);
// Of a regular file; what no chunk has are zeros.
Result<std::unique_ptr<ByteSource>> open_ghost(CheckpointStore& store, const std::string& image,
                                               const Ghost& ghost, const Task& task);

}  // namespace ctriage::source
