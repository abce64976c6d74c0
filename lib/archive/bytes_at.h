#pragma once
// Bytes of an input by their offset: a file, a part of another, or what a decompressor makes of one.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "lib/core/limits.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"

namespace ctriage::archive {

class BytesAt {
 public:
  virtual ~BytesAt() = default;
  // As much as there is up to the size of `into`: less only at the end.
  virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) = 0;
  // How many there are; nothing where only reading them tells: then going back costs a reading from the
  // beginning.
  [[nodiscard]] virtual std::optional<std::uint64_t> size_bytes() const = 0;
};

// A regular file as large as it is now; `name` is for messages.
Result<std::unique_ptr<BytesAt>> bytes_of_file(UniqueFd file, std::string name);
// `size` bytes of `whole`, which stays with the caller.
std::unique_ptr<BytesAt> part_of(BytesAt& whole, std::uint64_t offset, std::uint64_t size);

// All of `whole`, which stays with the caller, from its beginning.
std::unique_ptr<ByteSource> in_order(BytesAt& whole, const Task& task);
// `size` bytes from `offset` on, or those that there are; `task` stays with the caller.
std::unique_ptr<ByteSource> in_order(std::unique_ptr<BytesAt> bytes, std::uint64_t offset, std::uint64_t size,
                                     const Task& task);

enum class Compression : std::uint8_t { none, gzip, zstd, xz, bzip2, lz4 };
std::string_view to_text(Compression compression);
// By the magic number that the first bytes are.
Compression find_compression(std::span<const std::byte> first);

// What `compressed`, which stays with the caller as `task` does, is a compressed form of. It is read in
// order; an offset before the last one begins anew. Over `most` bytes, or four times that with all that was
// begun anew, is Errc::limit.
Result<std::unique_ptr<BytesAt>> decompress(BytesAt& compressed, Compression compression, const Task& task,
                                            std::uint64_t most = kMaxUnpackedBytes);

}  // namespace ctriage::archive
