#include "lib/bundle/crypt.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <new>

namespace ctriage::bundle {
namespace {

template <auto F>
struct Free {
  template <class T>
  void operator()(T* held) const {
    F(held);
  }
};

const unsigned char* in(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* out(std::span<std::byte> bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

Error broken(std::string_view what) { return Error{Errc::io, std::string(what) + ": libcrypto refuses"}; }

OSSL_PARAM octets(const char* name, std::span<const std::byte> bytes) {
  // It is read only; the type of OSSL_PARAM serves both ways.
  auto* data = const_cast<std::byte*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  return OSSL_PARAM_construct_octet_string(name, data, bytes.size());
}

}  // namespace

void wipe(std::span<std::byte> secret) noexcept { OPENSSL_cleanse(secret.data(), secret.size()); }
void wipe(std::string& secret) noexcept { OPENSSL_cleanse(secret.data(), secret.size()); }

Status random_bytes(std::span<std::byte> into) {
  if (RAND_bytes(out(into), static_cast<int>(into.size())) != 1) return broken("random bytes");
  return Done{};
}

Result<Key32> hkdf(std::span<const std::byte> secret, std::span<const std::byte> salt,
                   std::string_view info) {
  const std::unique_ptr<EVP_KDF, Free<EVP_KDF_free>> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const std::unique_ptr<EVP_KDF_CTX, Free<EVP_KDF_CTX_free>> context(kdf ? EVP_KDF_CTX_new(kdf.get())
                                                                         : nullptr);
  if (!context) return broken("HKDF");
  std::string digest = "SHA256";
  const std::array<OSSL_PARAM, 5> parameters{
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      octets(OSSL_KDF_PARAM_KEY, secret), octets(OSSL_KDF_PARAM_INFO, bytes_in(info)),
      salt.empty() ? OSSL_PARAM_construct_end() : octets(OSSL_KDF_PARAM_SALT, salt),
      OSSL_PARAM_construct_end()};
  Key32 key{};
  if (EVP_KDF_derive(context.get(), out(key), key.size(), parameters.data()) != 1) return broken("HKDF");
  return key;
}

Result<Key32> hmac(std::span<const std::byte> key, std::string_view message) {
  Key32 code{};
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), in(bytes_in(message)), message.size(),
           out(code), &size) == nullptr ||
      size != code.size())
    return broken("HMAC");
  return code;
}

bool same_secret(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

namespace {
using OwnedKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
OwnedKey private_key(const Key32& secret) {
  return OwnedKey(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, in(secret), secret.size()));
}
}  // namespace

Result<Key32> x25519(const Key32& secret, const Key32& point) {
  const OwnedKey own = private_key(secret);
  const OwnedKey other(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, in(point), point.size()));
  const std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>> context(
      own ? EVP_PKEY_CTX_new(own.get(), nullptr) : nullptr);
  if (!context || !other || EVP_PKEY_derive_init(context.get()) != 1) return broken("X25519");
  Key32 shared{};
  std::size_t size = shared.size();
  // libcrypto fails by itself where the result is all zeros, RFC 7748 6.1.
  if (EVP_PKEY_derive_set_peer(context.get(), other.get()) != 1 ||
      EVP_PKEY_derive(context.get(), out(shared), &size) != 1 || size != shared.size())
    return Error{Errc::malformed, "X25519: not a point that makes a secret"};
  return shared;
}

Result<Key32> x25519_public(const Key32& secret) {
  const OwnedKey own = private_key(secret);
  Key32 point{};
  std::size_t size = point.size();
  if (!own || EVP_PKEY_get_raw_public_key(own.get(), out(point), &size) != 1) return broken("X25519");
  return point;
}

struct Aead::Context {
  std::unique_ptr<EVP_CIPHER_CTX, Free<EVP_CIPHER_CTX_free>> seal{EVP_CIPHER_CTX_new()};
  std::unique_ptr<EVP_CIPHER_CTX, Free<EVP_CIPHER_CTX_free>> open{EVP_CIPHER_CTX_new()};
};

Aead::Aead(std::unique_ptr<Context> context) : context_(std::move(context)) {}
Aead::~Aead() = default;
Aead::Aead(Aead&&) noexcept = default;
Aead& Aead::operator=(Aead&&) noexcept = default;

Result<Aead> Aead::create(const Key32& key) {
  auto context = std::make_unique<Context>();
  if (!context->seal || !context->open) throw std::bad_alloc();
  const EVP_CIPHER* cipher = EVP_chacha20_poly1305();
  if (EVP_EncryptInit_ex(context->seal.get(), cipher, nullptr, in(key), nullptr) != 1 ||
      EVP_DecryptInit_ex(context->open.get(), cipher, nullptr, in(key), nullptr) != 1)
    return broken("ChaCha20-Poly1305");
  return Aead(std::move(context));
}

Status Aead::seal(const Nonce& nonce, std::span<const std::byte> plain, std::span<std::byte> into) {
  EVP_CIPHER_CTX* context = context_->seal.get();
  int size = 0;
  int rest = 0;
  const auto text = into.first(plain.size());
  const auto tag = into.subspan(plain.size(), kTagBytes);
  if (EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, in(nonce)) != 1 ||
      EVP_EncryptUpdate(context, out(text), &size, in(plain), static_cast<int>(plain.size())) != 1 ||
      EVP_EncryptFinal_ex(context, out(text) + size, &rest) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) != 1)
    return broken("ChaCha20-Poly1305");
  return Done{};
}

bool Aead::open(const Nonce& nonce, std::span<const std::byte> sealed, std::span<std::byte> into) {
  EVP_CIPHER_CTX* context = context_->open.get();
  const auto text = sealed.first(sealed.size() - kTagBytes);
  std::array<std::byte, kTagBytes> tag{};
  std::copy(sealed.end() - kTagBytes, sealed.end(), tag.begin());
  int size = 0;
  int rest = 0;
  const bool same =
      EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, in(nonce)) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptUpdate(context, out(into), &size, in(text), static_cast<int>(text.size())) == 1 &&
      EVP_DecryptFinal_ex(context, out(into) + size, &rest) == 1;
  if (!same) wipe(into);
  return same;
}

struct Sha512::Context {
  std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>> state{EVP_MD_CTX_new()};
};

Sha512::Sha512() : context_(std::make_unique<Context>()) {
  if (!context_->state || EVP_DigestInit_ex(context_->state.get(), EVP_sha512(), nullptr) != 1)
    throw std::bad_alloc();
}
Sha512::~Sha512() = default;
Sha512::Sha512(Sha512&&) noexcept = default;
Sha512& Sha512::operator=(Sha512&&) noexcept = default;

void Sha512::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(context_->state.get(), bytes.data(), bytes.size());
}

Digest512 Sha512::digest() const {
  const std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>> copy(EVP_MD_CTX_new());
  Digest512 digest{};
  unsigned size = 0;
  if (!copy || EVP_MD_CTX_copy_ex(copy.get(), context_->state.get()) != 1 ||
      EVP_DigestFinal_ex(copy.get(), out(digest), &size) != 1)
    throw std::bad_alloc();
  return digest;
}

}  // namespace ctriage::bundle
