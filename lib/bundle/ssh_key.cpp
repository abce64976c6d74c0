#include "lib/bundle/ssh_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lib/bundle/ssh_wire.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

template <auto F>
struct Free {
  template <class T>
  void operator()(T* held) const {
    F(held);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Number = std::unique_ptr<BIGNUM, Free<BN_clear_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using HashContext = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>>;
using Parameters = std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD_free>>;
using EcSignature = std::unique_ptr<ECDSA_SIG, Free<ECDSA_SIG_free>>;

constexpr std::string_view kEd25519 = "ssh-ed25519";
constexpr std::string_view kRsa = "ssh-rsa";
constexpr std::size_t kEd25519Bytes = 32;
constexpr std::size_t kMinRsaBytes = 2'048 / 8;
constexpr std::size_t kMaxRsaBytes = 16'384 / 8;
constexpr std::size_t kMaxRsaExponent = 8;

struct Curve {
  std::string_view type;  // of the key, and of its signatures
  std::string_view name;  // in its blob
  const char* group;      // libcrypto's name
  const char* hash;
  std::size_t bytes;
};
constexpr std::array<Curve, 3> kCurves{{{"ecdsa-sha2-nistp256", "nistp256", "prime256v1", "SHA256", 32},
                                        {"ecdsa-sha2-nistp384", "nistp384", "secp384r1", "SHA384", 48},
                                        {"ecdsa-sha2-nistp521", "nistp521", "secp521r1", "SHA512", 66}}};

const Curve* curve_of(std::string_view type) {
  const auto found =
      std::find_if(kCurves.begin(), kCurves.end(), [&](const Curve& c) { return c.type == type; });
  return found == kCurves.end() ? nullptr : &*found;
}

const unsigned char* in(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* out(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
Number number_of(std::string_view bytes) {
  return Number(BN_bin2bn(in(bytes), static_cast<int>(bytes.size()), nullptr));
}

Error malformed(std::string_view what) { return Error{Errc::malformed, "SSH key: " + std::string(what)}; }
Error refused() { return Error{Errc::io, "SSH key: libcrypto refuses"}; }

Key make_key(const char* algorithm, OSSL_PARAM_BLD* builder, int selection) {
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, algorithm, nullptr));
  EVP_PKEY* made = nullptr;
  if (parameters && context && EVP_PKEY_fromdata_init(context.get()) == 1 &&
      EVP_PKEY_fromdata(context.get(), &made, selection, parameters.get()) != 1)
    made = nullptr;
  return Key(made);
}

Key ec_key(const Curve& curve, std::string_view point, const BIGNUM* secret) {
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!builder ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) !=
          1)
    return nullptr;
  if (secret != nullptr && OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, secret) != 1)
    return nullptr;
  return make_key("EC", builder.get(), secret != nullptr ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
}

// Is the key a pair, and its point on the curve?
bool is_good(const Key& key, bool pair) {
  const KeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
  if (!context) return false;
  return (pair ? EVP_PKEY_pairwise_check(context.get()) : EVP_PKEY_public_check(context.get())) == 1;
}

struct PublicKey {
  Key key;
  const Curve* curve = nullptr;  // ECDSA
  bool rsa = false;
};

Result<PublicKey> parse_rsa(SshReader& blob) {
  const std::string_view exponent = blob.integer();
  const std::string_view modulus = blob.integer();
  if (!blob.done() || exponent.empty() || exponent.size() > kMaxRsaExponent)
    return malformed("not an RSA key");
  if (modulus.size() < kMinRsaBytes || modulus.size() > kMaxRsaBytes)
    return Error{Errc::unsupported,
                 "an RSA key of " + std::to_string(modulus.size() * 8) + " bits: 2048 to 16384 are taken"};
  const Number e = number_of(exponent);
  const Number n = number_of(modulus);
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!e || !n || !builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1)
    return refused();
  PublicKey key{make_key("RSA", builder.get(), EVP_PKEY_PUBLIC_KEY), nullptr, true};
  if (!key.key) return malformed("not an RSA key");
  return key;
}

Result<PublicKey> parse_public(std::string_view bytes) {
  SshReader blob(bytes);
  const std::string_view type = blob.string();
  if (!blob.ok()) return malformed("its blob ends early");
  if (type == kEd25519) {
    const std::string_view point = blob.string();
    if (!blob.done() || point.size() != kEd25519Bytes) return malformed("not an Ed25519 key");
    PublicKey key{Key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, in(point), point.size()))};
    if (!key.key) return malformed("not an Ed25519 key");
    return key;
  }
  if (type == kRsa) return parse_rsa(blob);
  const Curve* curve = curve_of(type);
  if (curve == nullptr)
    return Error{Errc::unsupported, "an SSH key of type " + escape_terminal(type.substr(0, 60)) +
                                        ": Ed25519, ECDSA and RSA are known"};
  const std::string_view name = blob.string();
  const std::string_view point = blob.string();
  if (!blob.done() || name != curve->name || point.size() != 2 * curve->bytes + 1 || point[0] != '\x04')
    return malformed("not an ECDSA key");
  PublicKey key{ec_key(*curve, point, nullptr), curve};
  if (!key.key || !is_good(key.key, false)) return malformed("not a point of its curve");
  return key;
}

// The hash that the algorithm of a signature means for a key, or nothing when they do not fit.
struct HashName {
  const char* name;  // null: Ed25519 has its own
};
std::optional<HashName> hash_for(const PublicKey& key, std::string_view algorithm) {
  if (key.rsa && algorithm == "rsa-sha2-512") return HashName{"SHA512"};
  if (key.rsa && algorithm == "rsa-sha2-256") return HashName{"SHA256"};
  if (key.rsa) return std::nullopt;  // SHA-1 is broken
  if (key.curve != nullptr && algorithm == key.curve->type) return HashName{key.curve->hash};
  if (key.curve == nullptr && algorithm == kEd25519) return HashName{nullptr};
  return std::nullopt;
}

// r and s as SSH has them, RFC 5656 3.1.2, in the form of libcrypto.
std::optional<std::string> to_der(std::string_view bytes, std::size_t most) {
  SshReader blob(bytes);
  const std::string_view r = blob.integer();
  const std::string_view s = blob.integer();
  if (!blob.done() || r.empty() || s.empty() || r.size() > most || s.size() > most) return std::nullopt;
  Number first = number_of(r);
  Number second = number_of(s);
  const EcSignature signature(ECDSA_SIG_new());
  if (!first || !second || !signature || ECDSA_SIG_set0(signature.get(), first.get(), second.get()) != 1)
    return std::nullopt;
  static_cast<void>(first.release());  // the signature's now
  static_cast<void>(second.release());
  const int size = i2d_ECDSA_SIG(signature.get(), nullptr);
  if (size <= 0) return std::nullopt;
  std::string der(static_cast<std::size_t>(size), '\0');
  unsigned char* at = out(der);
  i2d_ECDSA_SIG(signature.get(), &at);
  return der;
}

std::string number_text(const BIGNUM* number) {
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
  BN_bn2bin(number, out(bytes));
  return ssh_integer(bytes);
}

std::optional<std::string> from_der(std::string_view der) {
  const unsigned char* at = in(der);
  const EcSignature signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  if (!signature) return std::nullopt;
  return number_text(ECDSA_SIG_get0_r(signature.get())) + number_text(ECDSA_SIG_get0_s(signature.get()));
}

}  // namespace

Status check_ssh_key(std::string_view blob) {
  auto key = parse_public(blob);
  if (!key) return std::move(key).error();
  return Done{};
}

Status check_ssh_signature(std::string_view blob, const SshSignatureBytes& signature, std::string_view text) {
  auto key = parse_public(blob);
  if (!key) return std::move(key).error();
  const auto hash = hash_for(*key, signature.algorithm);
  if (!hash)
    return Error{Errc::mismatch, "a signature of type " + escape_terminal(signature.algorithm.substr(0, 60)) +
                                     " by a key of type " + ssh_key_type(blob)};
  std::string bytes = signature.bytes;
  if (key->curve != nullptr) {
    auto der = to_der(bytes, key->curve->bytes);
    if (!der) return Error{Errc::mismatch, "not an ECDSA signature"};
    bytes = *std::move(der);
  }
  const HashContext context(EVP_MD_CTX_new());
  if (!context || EVP_DigestVerifyInit_ex(context.get(), nullptr, hash->name, nullptr, nullptr,
                                          key->key.get(), nullptr) != 1)
    return refused();
  if (EVP_DigestVerify(context.get(), in(bytes), bytes.size(), in(text), text.size()) != 1)
    return Error{Errc::mismatch, "the signature is not of this content by this key"};
  return Done{};
}

std::string ssh_key_type(std::string_view blob) {
  SshReader in_blob(blob);
  return escape_terminal(in_blob.string().substr(0, 60));
}

std::string ssh_fingerprint(std::string_view blob) {
  const Digest digest = sha256(bytes_in(blob));
  std::string text = to_base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

std::string ssh_public_line(std::string_view blob) { return ssh_key_type(blob) + " " + to_base64(blob); }

struct SshPrivateKey::Secret {
  Key key;
  const Curve* curve = nullptr;
};

SshPrivateKey::SshPrivateKey(std::string blob, std::unique_ptr<Secret> secret)
    : blob_(std::move(blob)), secret_(std::move(secret)) {}
SshPrivateKey::~SshPrivateKey() = default;
SshPrivateKey::SshPrivateKey(SshPrivateKey&&) noexcept = default;
SshPrivateKey& SshPrivateKey::operator=(SshPrivateKey&&) noexcept = default;

// PROTOCOL.key of OpenSSH:
//   "openssh-key-v1" NUL, string cipher, string kdf, string kdf options, uint32 count, string public key,
//   string of: uint32 check twice, the key, string comment, bytes 1, 2, 3, ... to the cipher's block
Result<SshPrivateKey> SshPrivateKey::parse(std::string_view file) {
  if (file.find("-----BEGIN OPENSSH PRIVATE KEY-----") == std::string_view::npos) {
    if (file.find("PRIVATE KEY-----") != std::string_view::npos)
      return Error{Errc::unsupported,
                   "a private key in PEM form: ssh-keygen -p rewrites it, or give it to an agent and sign "
                   "with 'agent'"};
    if (file.starts_with("ssh-") || file.starts_with("ecdsa-"))
      return malformed("this is the public half: the private one signs");
    return malformed("not a private key of OpenSSH");
  }
  auto bytes = from_armor("OPENSSH PRIVATE KEY", file);
  if (!bytes) return malformed("not a whole private key of OpenSSH");
  struct Wiper {
    std::string& text;
    ~Wiper() { wipe(text); }
  } const wiper{*bytes};
  SshReader key(*bytes);
  using namespace std::string_view_literals;
  if (!key.starts("openssh-key-v1\0"sv)) return malformed("not of openssh-key-v1");
  const std::string_view cipher = key.string();
  const std::string_view kdf = key.string();
  key.string();
  const std::uint32_t count = key.number();
  const std::string_view blob = key.string();
  SshReader secret(key.string());
  if (!key.ok()) return malformed("it ends early");
  if (cipher != "none" || kdf != "none")
    return Error{Errc::unsupported,
                 "the private key has a passphrase: give it to an agent (ssh-add) and sign with 'agent'"};
  if (count != 1 || !key.done()) return malformed("it does not hold one key");
  const std::uint32_t check = secret.number();
  if (check != secret.number()) return malformed("its check numbers differ");
  const std::string_view type = secret.string();
  auto own = std::make_unique<Secret>();
  if (type == kEd25519) {
    const std::string_view point = secret.string();
    const std::string_view both = secret.string();
    if (!secret.ok() || point.size() != kEd25519Bytes || both.size() != 2 * kEd25519Bytes ||
        both.substr(kEd25519Bytes) != point || blob != ssh_string(type) + ssh_string(point))
      return malformed("not an Ed25519 key");
    own->key.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, in(both), kEd25519Bytes));
    std::string derived(kEd25519Bytes, '\0');
    std::size_t size = derived.size();
    if (!own->key || EVP_PKEY_get_raw_public_key(own->key.get(), out(derived), &size) != 1) return refused();
    if (derived != point) return malformed("its two halves do not fit");
  } else if (const Curve* curve = curve_of(type); curve != nullptr) {
    const std::string_view name = secret.string();
    const std::string_view point = secret.string();
    const std::string_view scalar = secret.integer();
    if (!secret.ok() || name != curve->name || point.size() != 2 * curve->bytes + 1 || scalar.empty() ||
        scalar.size() > curve->bytes || blob != ssh_string(type) + ssh_string(name) + ssh_string(point))
      return malformed("not an ECDSA key");
    const Number d = number_of(scalar);
    own->curve = curve;
    own->key = d ? ec_key(*curve, point, d.get()) : nullptr;
    if (!own->key || !is_good(own->key, true)) return malformed("its two halves do not fit");
  } else {
    return Error{Errc::unsupported, "a private key of type " + escape_terminal(type.substr(0, 60)) +
                                        ": give it to an agent (ssh-add) and sign with 'agent'"};
  }
  secret.string();  // the comment
  const std::string_view padding = secret.rest();
  for (std::size_t i = 0; i < padding.size(); ++i) {
    if (static_cast<unsigned char>(padding[i]) != ((i + 1) & 0xff)) return malformed("its padding is wrong");
  }
  if (!secret.ok()) return malformed("it ends early");
  return SshPrivateKey(std::string(blob), std::move(own));
}

Result<std::string> SshPrivateKey::sign(std::string_view text) const {
  const char* hash = secret_->curve != nullptr ? secret_->curve->hash : nullptr;
  const HashContext context(EVP_MD_CTX_new());
  std::size_t size = 0;
  if (!context ||
      EVP_DigestSignInit_ex(context.get(), nullptr, hash, nullptr, nullptr, secret_->key.get(), nullptr) !=
          1 ||
      EVP_DigestSign(context.get(), nullptr, &size, in(text), text.size()) != 1)
    return refused();
  std::string bytes(size, '\0');
  if (EVP_DigestSign(context.get(), out(bytes), &size, in(text), text.size()) != 1) return refused();
  bytes.resize(size);
  if (secret_->curve == nullptr) return ssh_string(kEd25519) + ssh_string(bytes);
  const auto pair = from_der(bytes);
  if (!pair) return refused();
  return ssh_string(secret_->curve->type) + ssh_string(*pair);
}

}  // namespace ctriage::bundle
