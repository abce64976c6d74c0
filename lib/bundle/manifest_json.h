#pragma once
// Reads manifest.json and custody.jsonl back: input of an attacker until verify has compared it.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"
#include "lib/core/values.h"

namespace ctriage::bundle {

constexpr std::size_t kMaxManifestText = 128 << 10;  // bytes of JSON between one value and the next

struct ManifestStream {
  std::string path;
  std::string status;
  std::string why;
  std::uint64_t size_bytes = 0;
  Digest digest{};
};
struct ManifestChunk {
  std::string name;
  std::uint64_t size_bytes = 0;
  Digest digest{};
};

// What parse_manifest tells, in the order of the file: a stream when its chunks begin, so all else of it
// stands before.
class ManifestSink {
 public:
  virtual ~ManifestSink() = default;
  virtual void head(Timestamp started_at) = 0;
  virtual void stream(const ManifestStream& stream) = 0;
  virtual void chunk(const ManifestChunk& chunk) = 0;
  virtual void stream_end() = 0;
};
// Errc::malformed; the source's own errors pass through. Unknown members (newer writers) are skipped.
Status parse_manifest(ByteSource& in, ManifestSink& sink);

struct CustodyRecord {
  std::uint64_t seq = 0;
  std::string action;
  Digest previous{};
  std::string signing_key;  // of the first: who was to sign, SHA256:...; empty: nobody
  std::string phase;        // of a mark, with the rest
  std::uint64_t length_bytes = 0;
  std::uint64_t member_count = 0;
  std::optional<Digest> prefix_digest;
  std::optional<Digest> sums_digest;
};
Result<CustodyRecord> parse_custody(std::string_view line);

}  // namespace ctriage::bundle
