#pragma once
// Chunks of compressed streams: exactly one zstd frame each (RFC 8878), with content size and checksum.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::bundle {

struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

class FrameEncoder {
 public:
  static Result<FrameEncoder> create(int level);
  // `into` has room for frame_bound(from.size()).
  Result<std::size_t> encode(std::span<const std::byte> from, std::span<std::byte> into);

 private:
  explicit FrameEncoder(ZSTD_CCtx* context) : context_(context) {}
  std::unique_ptr<ZSTD_CCtx, FreeZstd> context_;
};

std::size_t frame_bound(std::size_t original_bytes);

// Undoes frames a piece at a time. The frame holds at most kChunkBytes and its window is no larger.
class FrameDecoder {
 public:
  static Result<FrameDecoder> create();
  void begin();  // the next frame
  // Eats some of `from` (at least a byte, unless it is empty) and fills some of `into`. Errc::malformed,
  // limit.
  struct Step {
    std::size_t eaten = 0;
    std::size_t made = 0;
  };
  Result<Step> decode(std::span<const std::byte> from, std::span<std::byte> into);
  // Once all of the stored bytes were eaten: whether that was one whole frame.
  [[nodiscard]] Status finish() const;
  // Decoded bytes may wait inside even when all was eaten: call decode with nothing until it makes nothing.
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint64_t made_bytes() const { return made_; }

 private:
  explicit FrameDecoder(ZSTD_DCtx* context) : context_(context) {}
  std::unique_ptr<ZSTD_DCtx, FreeZstd> context_;
  std::vector<std::byte> head_;  // the first bytes: the frame's header
  bool ended_ = false;
  std::uint64_t made_ = 0;
};

}  // namespace ctriage::bundle
