#pragma once
// Hashes that are broken and that lists of others still use. Nothing of ours relies on them.
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ctriage {

class OldHash {
 public:
  enum class Kind : unsigned char { md5, sha1 };  // RFC 1321, RFC 3174
  explicit OldHash(Kind kind);
  ~OldHash();
  OldHash(OldHash&&) noexcept;
  OldHash& operator=(OldHash&&) noexcept;
  void update(std::span<const std::byte> bytes);
  [[nodiscard]] std::string digest() const;  // raw, 16 or 20 bytes
  [[nodiscard]] std::string hex() const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// A name-based UUID, version 5 (RFC 4122, 4.3), in the name space of STIX 2.1: the same of the same text.
std::string uuid_of(std::string_view text);

}  // namespace ctriage
