#pragma once
// Opens a bundle: packed, unpacked into a directory, or still growing (.part, or cut). Format: FORMAT.md
// here.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/bundle/outcome.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

class Reader {
 public:
  // `file` is a seekable tar. Members are indexed by their headers; contents are read when asked for. A file
  // cut inside its last member opens: cut() says so. Errc::malformed when it is not a bundle at all.
  // The task stays with the caller for as long as the reader.
  static Result<std::unique_ptr<Reader>> open_tar(UniqueFd file, std::string name, Task& task);
  // The same of bytes that lie elsewhere: volumes.
  static Result<std::unique_ptr<Reader>> open_tar(std::unique_ptr<archive::BytesAt> bytes, std::string name,
                                                  Task& task);
  static Result<std::unique_ptr<Reader>> open_directory(Root directory, Task& task);
  virtual ~Reader() = default;

  // Names of streams ("containers/app/upper.tar.zst", not its chunks) in order of first appearance.
  [[nodiscard]] virtual const std::vector<std::string>& streams() const = 0;
  [[nodiscard]] virtual bool has(std::string_view stream) const = 0;
  // The original bytes: chunks joined in order, zstd undone within the limits of the format (a frame holds at
  // most kChunkBytes). Errc::truncated where the file is cut, mismatch where a chunk is missing.
  virtual Result<std::unique_ptr<ByteSource>> open(std::string_view stream, Task& task) = 0;
  // What manifest.json says of the stream, also of one that was planned and not taken, which has() does not
  // know. Nothing when the bundle is not sealed, the manifest does not name the stream or cannot be read (the
  // first call reads it; a gap says so). Only verify proves what it says.
  [[nodiscard]] virtual std::optional<StreamStatus> status(std::string_view stream) const = 0;
  [[nodiscard]] virtual bool sealed() const = 0;  // manifest.json and its digest are there
  [[nodiscard]] virtual bool cut() const = 0;     // ends inside a member or without the end marker
};

}  // namespace ctriage::bundle
