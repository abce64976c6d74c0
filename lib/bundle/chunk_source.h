#pragma once
// A stream's original bytes from its chunks, wherever those lie.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/bundle/names.h"
#include "lib/bundle/zstd_frame.h"
#include "lib/core/stream.h"

namespace ctriage::bundle {

// Where the stored bytes of a chunk are. Both readers keep these by stream, in the order of the chunks.
struct StoredChunk {
  std::uint64_t offset = 0;  // in the tar
  std::uint64_t size = 0;
  std::uint32_t index = kWholeStream;
};

// Opens one chunk for reading. Errc::truncated from the source where the file is cut.
class ChunkOpener {
 public:
  virtual ~ChunkOpener() = default;
  virtual Result<std::unique_ptr<ByteSource>> open_chunk(const std::string& stream,
                                                         const StoredChunk& chunk) const = 0;
};

// Joins the chunks and undoes zstd. `opener` and `task` stay with the caller for as long. Errc::mismatch
// where a chunk is missing: what comes before it is given first.
Result<std::unique_ptr<ByteSource>> join_chunks(const ChunkOpener& opener, std::string stream,
                                                std::vector<StoredChunk> chunks, const Task& task);

}  // namespace ctriage::bundle
