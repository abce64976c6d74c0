#include "lib/bundle/zstd_frame.h"

#include <algorithm>
#include <string>

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

// RFC 8878, 3.1.1.1: magic number, then the frame header descriptor.
constexpr std::size_t kLongestHeader = 18;
constexpr std::byte kMagic[] = {std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd}};
constexpr std::size_t kDescriptorAt = 4;
constexpr std::byte kChecksumFlag{0x04};
constexpr int kWindowLog = 22;  // 4 MiB, a chunk

Error zstd_error(std::size_t code) {
  return Error{Errc::malformed, std::string("zstd: ") + ZSTD_getErrorName(code)};
}

}  // namespace

std::size_t frame_bound(std::size_t original_bytes) { return ZSTD_compressBound(original_bytes); }

Result<FrameEncoder> FrameEncoder::create(int level) {
  FrameEncoder encoder(ZSTD_createCCtx());
  if (!encoder.context_) return Error{Errc::limit, "zstd: no memory"};
  for (const auto& [parameter, value] :
       {std::pair{ZSTD_c_compressionLevel, level}, std::pair{ZSTD_c_checksumFlag, 1},
        std::pair{ZSTD_c_contentSizeFlag, 1}}) {
    const std::size_t code = ZSTD_CCtx_setParameter(encoder.context_.get(), parameter, value);
    if (ZSTD_isError(code) != 0) return zstd_error(code);
  }
  return encoder;
}

Result<std::size_t> FrameEncoder::encode(std::span<const std::byte> from, std::span<std::byte> into) {
  const std::size_t size = ZSTD_compress2(context_.get(), into.data(), into.size(), from.data(), from.size());
  if (ZSTD_isError(size) != 0) return zstd_error(size);
  return size;
}

Result<FrameDecoder> FrameDecoder::create() {
  FrameDecoder decoder(ZSTD_createDCtx());
  if (!decoder.context_) return Error{Errc::limit, "zstd: no memory"};
  const std::size_t code = ZSTD_DCtx_setParameter(decoder.context_.get(), ZSTD_d_windowLogMax, kWindowLog);
  if (ZSTD_isError(code) != 0) return zstd_error(code);
  decoder.head_.reserve(kLongestHeader);
  return decoder;
}

void FrameDecoder::begin() {
  ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
  head_.clear();
  ended_ = false;
  made_ = 0;
}

Result<FrameDecoder::Step> FrameDecoder::decode(std::span<const std::byte> from, std::span<std::byte> into) {
  if (ended_) {
    if (from.empty()) return Step{};
    return Error{Errc::malformed, "zstd: more after the end of the frame"};
  }
  const auto head = from.first(std::min(from.size(), kLongestHeader - head_.size()));
  ZSTD_inBuffer in{from.data(), from.size(), 0};
  ZSTD_outBuffer out{into.data(), into.size(), 0};
  const std::size_t code = ZSTD_decompressStream(context_.get(), &out, &in);
  if (ZSTD_isError(code) != 0) return zstd_error(code);
  head_.insert(head_.end(), head.begin(),
               head.begin() + static_cast<std::ptrdiff_t>(std::min(head.size(), in.pos)));
  made_ += out.pos;
  if (made_ > kChunkBytes) return Error{Errc::limit, "zstd: a frame of more than a chunk"};
  ended_ = code == 0;
  return Step{in.pos, out.pos};
}

Status FrameDecoder::finish() const {
  if (!ended_) return Error{Errc::truncated, "zstd: the frame does not end"};
  if (head_.size() <= kDescriptorAt || !std::equal(std::begin(kMagic), std::end(kMagic), head_.begin())) {
    return Error{Errc::malformed, "zstd: not a frame"};
  }
  if ((head_[kDescriptorAt] & kChecksumFlag) == std::byte{0})
    return Error{Errc::malformed, "zstd: a frame without checksum"};
  if (ZSTD_getFrameContentSize(head_.data(), head_.size()) != made_) {
    return Error{Errc::malformed, "zstd: a frame without its size"};
  }
  return Done{};
}

}  // namespace ctriage::bundle
