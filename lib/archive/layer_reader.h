#pragma once
// Reads a layer back (pax with SCHILY.xattr and GNU.sparse, layer_writer.h) with libarchive. The archive is
// hostile: in the sandbox, with limits.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/core/stream.h"
#include "lib/core/values.h"

namespace ctriage::archive {

class LayerReader {
 public:
  // `in` stays with the caller for as long.
  static Result<std::unique_ptr<LayerReader>> open(ByteSource& in);
  virtual ~LayerReader() = default;

  struct Entry {
    std::string path;  // as it is stored, any bytes: "usr/bin/x"
    bool regular = false;
    std::uint64_t size_bytes = 0;
    std::string hard_link_of;  // empty: none
    std::uint32_t mode = 0;    // with its type: inode(7)
    std::uint32_t uid = 0, gid = 0;
    Timestamp mtime;
    std::string link_target;  // of a symbolic link
  };
  // False at the end. What was not read of the entry before is skipped. Errc::malformed, truncated.
  virtual Result<bool> next(Entry& entry) = 0;
  // The bytes of the entry that next gave, holes as zeros; 0 is the end.
  virtual Result<std::size_t> read(std::span<std::byte> into) = 0;
  // The same without its holes: the next bytes that are stored, and where in the file; none: the end. They
  // hold until the next call.
  struct Stored {
    std::uint64_t offset = 0;
    std::span<const std::byte> bytes;
  };
  virtual Result<Stored> stored() = 0;
};

// The bytes of the entry that next gave last, with the tar that `reader` reads.
std::unique_ptr<ByteSource> entry_of(std::unique_ptr<ByteSource> tar, std::unique_ptr<LayerReader> reader);

}  // namespace ctriage::archive
