#pragma once
// Writes an UpperDir as an OCI layer (image-spec layer.md) with libarchive: pax, all xattrs as SCHILY.xattr,
// sparse files kept as GNU.sparse 1.0, whiteouts as .wh.NAME, opaque directories with .wh..wh..opq. What that
// form cannot say (two meanings of one name) is in changes.jsonl, which is the truth.
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lib/core/stream.h"
#include "lib/model/file.h"

namespace ctriage::archive {

struct DataRun {  // bytes that are there; the rest of the file is a hole
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

class LayerWriter {
 public:
  // `out` stays with the caller and receives the tar as it grows.
  static Result<std::unique_ptr<LayerWriter>> open(ByteSink& out);
  virtual ~LayerWriter() = default;

  // The header of one entry. For regular files `runs` are in order, and exactly their bytes must follow.
  virtual Status begin(const FileChange& change, std::span<const DataRun> runs) = 0;
  // `hash` (or none) is handed on with the bytes to the sink, but not for an entry that has no content here.
  virtual Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                      const std::shared_ptr<LateSha256>& hash) = 0;
  virtual Status end() = 0;
  virtual Status finish() = 0;  // end of archive
};

}  // namespace ctriage::archive
