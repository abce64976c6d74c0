#pragma once
// Copies what is read: a bundle is checked while it is written, and only then gets its name.
#include "lib/core/hash.h"
#include "lib/core/stream.h"

namespace ctriage::bundle {

class TeeSource final : public ByteSource {
 public:
  // Both stay with the caller.
  TeeSource(ByteSource& in, ByteSink& out) : in_(in), out_(out) {}
  Result<std::size_t> read(std::span<std::byte> into) override;
  // What verify did not ask for.
  Status drain();
  [[nodiscard]] std::uint64_t size_bytes() const { return hash_.size_bytes(); }
  [[nodiscard]] Digest digest() const { return hash_.digest(); }  // of all bytes so far
  // An error of `out`, which ends the reading: the bytes themselves may be good.
  [[nodiscard]] const Status& written() const { return written_; }

 private:
  ByteSource& in_;
  ByteSink& out_;
  Sha256 hash_;
  Status written_ = Done{};
};

}  // namespace ctriage::bundle
