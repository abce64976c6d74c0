#pragma once
// Files that somebody vouches for, by SHA-256.
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"

namespace ctriage::rules {

constexpr std::size_t kMaxKnownGood = 1'000'000;  // 32 MB
constexpr std::size_t kMaxKnownGoodLine = 8'192;  // a name may follow the digest

class KnownGood {
 public:
  KnownGood() = default;
  explicit KnownGood(std::vector<Digest> digests);
  [[nodiscard]] bool has(const Digest& digest) const;
  [[nodiscard]] std::size_t size() const { return digests_.size(); }

 private:
  std::vector<Digest> digests_;  // sorted, none twice
};

// One a line: 64 hexadecimal digits, alone or as sha256sum(1) writes them ("DIGEST  NAME", "\DIGEST  NAME").
// Empty lines and what begins with # are passed over. Errc::malformed with the line, limit, or what the
// source failed with.
Result<KnownGood> read_known_good(ByteSource& in);

}  // namespace ctriage::rules
