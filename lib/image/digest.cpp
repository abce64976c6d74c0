#include "lib/image/digest.h"

#include <openssl/evp.h>

#include <memory>
#include <vector>

#include "lib/core/hash.h"

namespace ctriage::image {
namespace {

constexpr std::size_t kBlockBytes = 64 << 10;
constexpr std::array<std::string_view, 5> kNames{"", "md5", "sha1", "sha256", "sha512"};
constexpr std::array<std::size_t, 5> kSizes{0, 16, 20, 32, 64};

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

const EVP_MD* method_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::md5:
      return EVP_md5();
    case Algorithm::sha1:
      return EVP_sha1();
    case Algorithm::sha256:
      return EVP_sha256();
    case Algorithm::sha512:
      return EVP_sha512();
    case Algorithm::none:
      break;
  }
  return nullptr;
}

int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view to_text(Algorithm algorithm) { return kNames[static_cast<std::size_t>(algorithm)]; }
std::size_t digest_bytes(Algorithm algorithm) { return kSizes[static_cast<std::size_t>(algorithm)]; }

std::string parse_hex(std::string_view hex, Algorithm algorithm) {
  if (hex.size() != 2 * digest_bytes(algorithm)) return {};
  std::string raw;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    const int high = value_of(hex[at]);
    const int low = value_of(hex[at + 1]);
    if (high < 0 || low < 0) return {};
    raw += static_cast<char>(high * 16 + low);
  }
  return raw;
}

Result<std::string> hash_all(ByteSource& in, Algorithm algorithm) {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  const EVP_MD* method = method_of(algorithm);
  if (method == nullptr || !context || EVP_DigestInit_ex(context.get(), method, nullptr) != 1)
    return Error{Errc::unsupported, std::string(to_text(algorithm)) + ": OpenSSL does not have it"};
  std::vector<std::byte> block(kBlockBytes);
  while (true) {
    auto got = in.read(block);
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    EVP_DigestUpdate(context.get(), block.data(), *got);
  }
  std::array<std::byte, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), &size);
  return to_hex(std::span(digest).first(size));
}

Result<bool> has_digest(ByteSource& in, std::string_view digest) {
  const std::size_t colon = digest.find(':');
  for (const Algorithm algorithm : {Algorithm::md5, Algorithm::sha1, Algorithm::sha256, Algorithm::sha512}) {
    if (colon == std::string_view::npos || digest.substr(0, colon) != to_text(algorithm)) continue;
    const std::string wanted = parse_hex(digest.substr(colon + 1), algorithm);
    if (wanted.empty()) break;
    auto found = hash_all(in, algorithm);
    if (!found) return std::move(found).error();
    return parse_hex(*found, algorithm) == wanted;
  }
  return Error{Errc::malformed, "not a digest: " + std::string(digest)};
}

}  // namespace ctriage::image
