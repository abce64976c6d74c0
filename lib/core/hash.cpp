#include "lib/core/hash.h"

#include <openssl/evp.h>

#include <new>

namespace ctriage {

namespace {

// libcrypto fails here only for lack of memory: a bug or no memory is an exception (STYLE.md).
void must(int ok) {
  if (ok != 1) throw std::bad_alloc();
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using ContextPtr = std::unique_ptr<EVP_MD_CTX, FreeContext>;

ContextPtr make_context() {
  ContextPtr made(EVP_MD_CTX_new());
  if (!made) throw std::bad_alloc();
  return made;
}

// Looked up once: a lookup for each of many small files costs more than their hashes.
const EVP_MD* algorithm() {
  static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  if (fetched == nullptr) throw std::bad_alloc();
  return fetched;
}

Digest finish(EVP_MD_CTX* context) {
  Digest digest{};
  must(EVP_DigestFinal_ex(context, reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  return digest;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

struct Sha256::Context {
  ContextPtr state = make_context();
  ContextPtr copy;  // once a digest was asked for
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  must(EVP_DigestInit_ex2(context_->state.get(), algorithm(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  must(EVP_DigestUpdate(context_->state.get(), bytes.data(), bytes.size()));
}

Digest Sha256::digest() const {
  if (!context_->copy) context_->copy = make_context();
  must(EVP_MD_CTX_copy_ex(context_->copy.get(), context_->state.get()));
  return finish(context_->copy.get());
}

Digest sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.digest();
}

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    text += kDigits[value >> 4];
    text += kDigits[value & 15];
  }
  return text;
}

std::string sha256_hex(std::string_view text) {
  return to_hex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

bool parse_digest(std::string_view hex, Digest& into) {
  Digest digest{};
  if (hex.size() != digest.size() * 2) return false;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = digit(hex[2 * i]);
    const int low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<std::byte>(high * 16 + low);
  }
  into = digest;
  return true;
}

}  // namespace ctriage
