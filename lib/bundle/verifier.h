#pragma once
// The parts of verify: the input with its running hash, one member of it, and the comparisons at the end.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/archive/tar_header.h"
#include "lib/bundle/ledger.h"
#include "lib/bundle/manifest_json.h"
#include "lib/bundle/verify.h"
#include "lib/bundle/zstd_frame.h"

namespace ctriage::bundle {

constexpr std::size_t kMaxStreams = 1'000'000;   // of one bundle that we check
constexpr std::size_t kMaxOpenStreams = 65'536;  // of several chunks, whose end is not known yet
constexpr std::size_t kMaxProblems = 100;        // told in full

class Input {
 public:
  explicit Input(ByteSource& source) : source_(source), buffer_(128 << 10) {}

  // Up to `most` bytes; empty at the end of the file. Counts and hashes them.
  Result<std::span<const std::byte>> take(std::uint64_t most);
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  // Of all bytes taken, while somebody wants it.
  [[nodiscard]] std::optional<Digest> digest() const;
  void stop_hashing() { hash_.reset(); }

 private:
  ByteSource& source_;
  std::vector<std::byte> buffer_;
  std::size_t at_ = 0;
  std::size_t size_ = 0;
  std::uint64_t offset_ = 0;
  std::optional<Sha256> hash_{std::in_place};
};

// The content of the member at hand. At a cut the read fails with Errc::truncated and cut() says so.
class Content final : public ByteSource {
 public:
  Content(Input& in, std::uint64_t size) : in_(in), left_(size) {}
  Result<std::size_t> read(std::span<std::byte> into) override;
  Result<std::span<const std::byte>> take();  // without copying; empty at the end of the content
  Status skip();                              // the rest of it, hashed
  [[nodiscard]] bool cut() const { return cut_; }
  [[nodiscard]] Digest digest() const { return hash_.digest(); }

 private:
  Input& in_;
  std::uint64_t left_;
  Sha256 hash_;
  bool cut_ = false;
};

class Problems {
 public:
  explicit Problems(Report& report) : report_(report) {}
  void add(std::string_view member, std::string_view what);
  [[nodiscard]] bool none() const { return report_.problem_count == 0; }

 private:
  Report& report_;
};

// Streams as they were seen in the file.
struct Seen {
  Ledger ledger;
  std::unordered_map<std::string_view, std::uint32_t>
      by_path;                                     // into ledger.streams, whose paths stay in place
  std::unordered_map<std::uint32_t, Sha256> open;  // streams of several chunks
  std::vector<bool> ended;                         // a chunk was shorter than all but the last may be
  std::vector<std::uint64_t> readable_bytes;       // original bytes, those of a cut chunk too
  Sha256 sums;                                     // of the SHA256SUMS lines

  [[nodiscard]] const StreamRecord* find(std::string_view path) const;
  [[nodiscard]] bool has_member(std::string_view name) const;
};

// Compares SHA256SUMS line by line, so that a problem names the member.
Status check_sums(ByteSource& in, const Seen& seen, Problems& problems);
// The manifest against what was seen, in both directions. Adds the records that are not whole, as the writer
// noted it (custody.jsonl, gaps.jsonl and their like), and SUMMARY.txt: no other record may speak of them.
Status check_manifest(ByteSource& in, const Seen& seen, std::int64_t mtime_seconds, Problems& problems,
                      std::vector<StreamState>& not_whole);

// One state for each stream that was seen. `good`: no problem was found.
std::vector<StreamState> list_salvage(const Seen& seen, bool cut, bool good);

// The hash chain over all chunks of custody.jsonl.
class CustodyChain {
 public:
  struct Here {  // what a mark at the start of this chunk must say
    std::uint64_t length_bytes = 0;
    std::uint64_t members = 0;
    std::optional<Digest> prefix_digest;
    Digest sums_digest{};
  };
  // One chunk; `size_bytes` long as its header says. Errors of the source pass through.
  Status check_chunk(ByteSource& in, std::uint64_t size_bytes, const Here& here, Input& input,
                     Problems& problems);
  [[nodiscard]] std::uint64_t records() const { return records_; }
  [[nodiscard]] const std::string& last_phase() const { return last_phase_; }
  // Who was to sign, by the first record; empty: nobody.
  [[nodiscard]] const std::string& signing_key() const { return signing_key_; }

 private:
  void check_mark(const CustodyRecord& record, bool first, const Here& here, Problems& problems);
  std::uint64_t records_ = 0;
  Digest last_{};
  bool marked_ = false;
  std::string last_phase_;
  std::string signing_key_;
};

}  // namespace ctriage::bundle
