#pragma once
// Makes a layer's tar again from its directory and what tar-split kept of it, byte by byte: Docker and
// containers/storage keep that for each layer, so that a push gives the digest of the pull.
//
//   file = lines of JSON, github.com/vbatts/tar-split tar/storage/entry.go
//   {"type":2, "payload": base64}                    bytes of the tar as they are: headers, padding
//   {"type":1, "name" or "name_raw": base64, "size": N, "payload": base64}
//                                                    the contents of a file; CRC-64 (ISO), big-endian
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/stream.h"
#include "lib/core/task.h"

namespace ctriage::image {

constexpr std::size_t kMaxSplitLineBytes = 2 << 20;

struct SplitEntry {
  bool file = false;
  std::string name;     // of a file
  std::string payload;  // of a segment its bytes, of a file its CRC-64
  std::uint64_t size_bytes = 0;
};
// In tar_split_json.cpp.
Result<SplitEntry> parse_split_entry(std::string_view line);

class RebuiltTar final : public ByteSource {
 public:
  // The file of that name in the layer's directory.
  using Open = std::function<Result<std::unique_ptr<ByteSource>>(const std::string& name)>;
  // A file that is not there, is shorter, or has another CRC: then the tar is not what it was, either.
  using Differs = std::function<void(const std::string& name, std::string_view how)>;
  // `split`, unpacked, stays with the caller.
  RebuiltTar(ByteSource& split, Open open, Differs differs)
      : lines_(split, kMaxSplitLineBytes), open_(std::move(open)), differs_(std::move(differs)) {}
  Result<std::size_t> read(std::span<std::byte> into) override;

 private:
  Result<bool> next();
  Result<std::size_t> read_file(std::span<std::byte> into);
  void end_file();

  LineReader lines_;
  Open open_;
  Differs differs_;
  SplitEntry entry_;
  std::size_t given_ = 0;   // of a segment
  std::uint64_t left_ = 0;  // of a file
  std::uint64_t crc_ = 0;
  std::unique_ptr<ByteSource> file_;  // null: zeros in its place
  bool told_ = false;                 // of this file
};

std::uint64_t crc64_iso(std::uint64_t before, std::span<const std::byte> bytes);

}  // namespace ctriage::image
