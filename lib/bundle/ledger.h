#pragma once
// What a bundle holds: its streams and, in 48 bytes each, their chunks in the order of the file. The writer
// makes the end of the bundle from it; verify fills one from what it sees and compares.
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "lib/bundle/names.h"
#include "lib/bundle/writer.h"
#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage::bundle {

constexpr std::uint32_t kNone = UINT32_MAX;

struct ChunkRecord {
  Digest digest{};             // of the stored bytes
  std::uint32_t stream = 0;    // in Ledger::streams
  std::uint32_t index = 0;     // or kWholeStream
  std::uint32_t next = kNone;  // the stream's next one in Ledger::chunks
  std::uint32_t size = 0;      // stored; a chunk is far below 4 GiB
};

struct StreamRecord {
  std::string path;
  std::string source;
  std::string why;
  Encoding encoding = Encoding::plain;
  Outcome outcome = Outcome::partial;
  Timestamp closed_at;
  std::uint64_t size_bytes = 0;  // original
  Digest digest{};               // original
  std::uint32_t first = kNone;   // in Ledger::chunks
  std::uint32_t last = kNone;
  std::uint32_t count = 0;
};

struct Ledger {
  std::deque<StreamRecord> streams;
  std::deque<ChunkRecord> chunks;

  std::uint32_t add_stream(StreamRecord stream);
  // Errc::limit over kMaxMembers.
  Status add_chunk(std::uint32_t stream, std::uint32_t index, std::uint32_t size, const Digest& digest);
  [[nodiscard]] std::string member(const ChunkRecord& chunk) const;
};

std::string_view to_text(Encoding encoding);

// "HEX  NAME\n", as sha256sum(1) writes it.
std::string sums_line(const Digest& digest, std::string_view name);

struct ManifestHead {
  std::string tool;
  Timestamp started_at;
  Timestamp sealed_at;
};
// Both give their document in pieces, the same ones each time: once to learn the size, once to write.
using Piece = std::function<Status(std::string_view)>;
Status write_sums(const Ledger& ledger, const Piece& piece);
Status write_manifest(const Ledger& ledger, const ManifestHead& head, const Piece& piece);

// What a chunk or a stream adds to both documents at most.
std::uint64_t ending_bytes(std::string_view member_name);
std::uint64_t ending_bytes(const StreamRecord& stream);
// The rest: heads, three headers, paddings, the end.
constexpr std::uint64_t kEndingBase = 8 << 10;

}  // namespace ctriage::bundle
