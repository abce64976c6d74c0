#include "lib/core/hash.h"

// SHA256_Init(3) and its kin, because they show the state that update_all() works on.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "lib/core/sha256_states.h"

namespace ctriage {
namespace {

constexpr std::size_t kBlockBytes = SHA256_CBLOCK;

// What SHA256_Update() would have counted: bits, in two words.
void count(SHA256_CTX& state, std::uint64_t size_bytes) {
  state.Nl = static_cast<SHA_LONG>(size_bytes << 3);
  state.Nh = static_cast<SHA_LONG>(size_bytes >> 29);
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

struct Sha256::Context {
  SHA256_CTX state{};
  std::uint64_t size_bytes = 0;
};

// None of libcrypto's calls here can fail: they compute, and give 1.
Sha256::Sha256() : context_(std::make_unique<Context>()) { SHA256_Init(&context_->state); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  SHA256_Update(&context_->state, bytes.data(), bytes.size());
  context_->size_bytes += bytes.size();
}

template <std::size_t N>
void Sha256::update_same(std::span<Sha256* const> hashes, std::span<const std::byte> bytes) {
  const auto head = bytes.first(
      std::min(bytes.size(), (kBlockBytes - hashes[0]->size_bytes() % kBlockBytes) % kBlockBytes));
  const auto rest = bytes.subspan(head.size());
  const auto whole = rest.first(rest.size() / kBlockBytes * kBlockBytes);
  std::array<std::uint32_t*, N> states{};
  for (std::size_t i = 0; i < N; ++i) {
    hashes[i]->update(head);
    states[i] = hashes[i]->context_->state.h;
  }
  if (!whole.empty()) compress(states, whole);
  for (Sha256* hash : hashes) {
    Context& context = *hash->context_;
    count(context.state, context.size_bytes += whole.size());
    hash->update(rest.subspan(whole.size()));
  }
}

void Sha256::update_all(std::span<Sha256* const> hashes, std::span<const std::byte> bytes) {
  static const bool fast = has_sha_extensions();
  const bool same = fast && std::all_of(hashes.begin(), hashes.end(), [&](const Sha256* hash) {
                      return hash->size_bytes() % kBlockBytes == hashes[0]->size_bytes() % kBlockBytes;
                    });
  if (same && hashes.size() == 2) return update_same<2>(hashes, bytes);
  if (same && hashes.size() == 3) return update_same<3>(hashes, bytes);
  for (Sha256* hash : hashes) hash->update(bytes);
}

void LateSha256::update(std::span<const std::byte> bytes) {
  if (debtor_ != nullptr) std::exchange(debtor_, nullptr)->settle();
  hash_.update(bytes);
  size_bytes_ += bytes.size();
}

void LateSha256::promise(std::uint64_t size_bytes, HashDebtor& by) {
  debtor_ = &by;
  size_bytes_ += size_bytes;
}

Digest LateSha256::digest() {
  if (debtor_ != nullptr) std::exchange(debtor_, nullptr)->settle();
  return hash_.digest();
}

std::uint64_t Sha256::size_bytes() const { return context_->size_bytes; }

Digest Sha256::digest() const {
  SHA256_CTX copy = context_->state;
  Digest digest{};
  SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &copy);
  return digest;
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
