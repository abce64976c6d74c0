#include "lib/core/old_hash.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/md5.h>
#include <openssl/sha.h>

#include <array>

#include "lib/core/hash.h"

namespace ctriage {

struct OldHash::Context {
  Kind kind;
  MD5_CTX md5{};
  SHA_CTX sha1{};
};

OldHash::OldHash(Kind kind) : context_(std::make_unique<Context>()) {
  context_->kind = kind;
  MD5_Init(&context_->md5);
  SHA1_Init(&context_->sha1);
}
OldHash::~OldHash() = default;
OldHash::OldHash(OldHash&&) noexcept = default;
OldHash& OldHash::operator=(OldHash&&) noexcept = default;

void OldHash::update(std::span<const std::byte> bytes) {
  if (context_->kind == Kind::md5) MD5_Update(&context_->md5, bytes.data(), bytes.size());
  if (context_->kind == Kind::sha1) SHA1_Update(&context_->sha1, bytes.data(), bytes.size());
}

std::string OldHash::digest() const {
  std::array<unsigned char, SHA_DIGEST_LENGTH> out{};
  MD5_CTX md5 = context_->md5;
  SHA_CTX sha1 = context_->sha1;
  if (context_->kind == Kind::md5) MD5_Final(out.data(), &md5);
  if (context_->kind == Kind::sha1) SHA1_Final(out.data(), &sha1);
  const std::size_t size = context_->kind == Kind::md5 ? MD5_DIGEST_LENGTH : SHA_DIGEST_LENGTH;
  return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)};
}

std::string OldHash::hex() const {
  const std::string raw = digest();
  return to_hex(std::as_bytes(std::span(raw)));
}

std::string uuid_of(std::string_view text) {
  constexpr std::array<unsigned char, 16> kStix{0x00, 0xab, 0xed, 0xb4, 0xaa, 0x42, 0x46, 0x6c,
                                                0x9c, 0x01, 0xfe, 0xd2, 0x33, 0x15, 0xa9, 0xb7};
  OldHash hash(OldHash::Kind::sha1);
  hash.update(std::as_bytes(std::span(kStix)));
  hash.update(std::as_bytes(std::span(text.data(), text.size())));
  std::string raw = hash.digest().substr(0, kStix.size());
  constexpr std::size_t kVersion = 6;
  constexpr std::size_t kVariant = 8;
  raw[kVersion] = static_cast<char>((static_cast<unsigned char>(raw[kVersion]) & 0x0fU) | 0x50U);
  raw[kVariant] = static_cast<char>((static_cast<unsigned char>(raw[kVariant]) & 0x3fU) | 0x80U);
  std::string hex = to_hex(std::as_bytes(std::span(raw)));
  for (const std::size_t at : {20U, 16U, 12U, 8U}) hex.insert(at, "-");
  return hex;
}

}  // namespace ctriage
