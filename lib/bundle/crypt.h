#pragma once
// The few primitives that sealing is made of, over libcrypto: no algorithm of our own.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/hash.h"
#include "lib/core/result.h"

namespace ctriage::bundle {

using Key32 = std::array<std::byte, 32>;

void wipe(std::span<std::byte> secret) noexcept;
void wipe(std::string& secret) noexcept;
inline std::span<const std::byte> bytes_in(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Bytes that nobody can guess. Errc::io when the system has none.
Status random_bytes(std::span<std::byte> into);

// RFC 5869 and RFC 2104 with SHA-256.
Result<Key32> hkdf(std::span<const std::byte> secret, std::span<const std::byte> salt, std::string_view info);
Result<Key32> hmac(std::span<const std::byte> key, std::string_view message);
bool same_secret(std::span<const std::byte> a, std::span<const std::byte> b);  // in constant time

// RFC 7748. Errc::malformed when the result is all zeros: a point that gives nothing away of the secret.
Result<Key32> x25519(const Key32& secret, const Key32& point);
Result<Key32> x25519_public(const Key32& secret);

// ChaCha20-Poly1305, RFC 8439, without associated data: one key, a nonce for each call.
class Aead {
 public:
  static constexpr std::size_t kTagBytes = 16;
  using Nonce = std::array<std::byte, 12>;
  static Result<Aead> create(const Key32& key);
  ~Aead();
  Aead(Aead&&) noexcept;
  Aead& operator=(Aead&&) noexcept;
  // `into` has room for the tag behind the text.
  Status seal(const Nonce& nonce, std::span<const std::byte> plain, std::span<std::byte> into);
  // False, and `into` cleared, when the text is not what was sealed. `into` is a tag shorter than `sealed`.
  bool open(const Nonce& nonce, std::span<const std::byte> sealed, std::span<std::byte> into);

 private:
  struct Context;
  explicit Aead(std::unique_ptr<Context> context);
  std::unique_ptr<Context> context_;
};

using Digest512 = std::array<std::byte, 64>;

class Sha512 {  // FIPS 180-4
 public:
  Sha512();
  ~Sha512();
  Sha512(Sha512&&) noexcept;
  Sha512& operator=(Sha512&&) noexcept;
  void update(std::span<const std::byte> bytes);
  [[nodiscard]] Digest512 digest() const;  // of what was fed so far

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace ctriage::bundle
