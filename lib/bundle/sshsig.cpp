// The form of a signature:
//   "SSHSIG", uint32 1, string public key, string namespace, string reserved, string hash algorithm,
//   string of: string algorithm, string bytes
// and what is signed:
//   "SSHSIG", string namespace, string reserved, string hash algorithm, string H(message)
#include "lib/bundle/sshsig.h"

#include "lib/bundle/ssh_wire.h"
#include "lib/bundle/sshsig_form.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::string_view kMagic = "SSHSIG";
constexpr std::string_view kLabel = "SSH SIGNATURE";
constexpr std::string_view kHash = "sha512";
constexpr std::uint32_t kVersion = 1;

template <std::size_t N>
std::string_view text_of(const std::array<std::byte, N>& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::string signed_text(std::string_view name_space, std::string_view reserved, std::string_view hash,
                        std::string_view digest) {
  return std::string(kMagic) + ssh_string(name_space) + ssh_string(reserved) + ssh_string(hash) +
         ssh_string(digest);
}

class FileSigner final : public Signer {
 public:
  explicit FileSigner(SshPrivateKey key) : key_(std::move(key)) {}
  Result<std::string> sign(const Digest512& message) override {
    auto signature = key_.sign(seal_text(message));
    if (!signature) return signature;
    return finish_signature(key_.public_blob(), *signature, message);
  }
  [[nodiscard]] const std::string& public_blob() const override { return key_.public_blob(); }

 private:
  SshPrivateKey key_;
};

}  // namespace

std::string seal_text(const Digest512& message) {
  return signed_text(kSealNamespace, "", kHash, text_of(message));
}

Result<std::string> finish_signature(std::string_view blob, std::string_view signature,
                                     const Digest512& message) {
  std::string text = to_armor(kLabel, std::string(kMagic) + ssh_number(kVersion) + ssh_string(blob) +
                                          ssh_string(kSealNamespace) + ssh_string("") + ssh_string(kHash) +
                                          ssh_string(signature));
  if (text.size() > kMaxSignatureBytes) return Error{Errc::limit, "a signature of over 16 KiB"};
  auto parsed = parse_signature(text);
  if (!parsed) return std::move(parsed).error();
  if (auto good = check_signature(*parsed, {{}, message}); !good) return std::move(good).error();
  return text;
}

Result<std::unique_ptr<Signer>> file_signer(std::string_view file) {
  auto key = SshPrivateKey::parse(file);
  if (!key) return std::move(key).error();
  return std::unique_ptr<Signer>(std::make_unique<FileSigner>(*std::move(key)));
}

Result<SshSignature> parse_signature(std::string_view armored) {
  if (armored.size() > kMaxSignatureBytes) return Error{Errc::limit, "a signature of over 16 KiB"};
  const auto bytes = from_armor(kLabel, armored);
  if (!bytes) return Error{Errc::malformed, "not an SSH signature"};
  SshReader in(*bytes);
  if (!in.starts(kMagic)) return Error{Errc::malformed, "not an SSH signature"};
  if (in.number() != kVersion) return Error{Errc::unsupported, "an SSH signature of another version"};
  SshSignature signature;
  signature.public_blob = in.string();
  signature.name_space = in.string();
  signature.reserved = in.string();
  signature.hash = in.string();
  SshReader inner(in.string());
  signature.bytes.algorithm = inner.string();
  signature.bytes.bytes = inner.string();
  if (!in.done() || !inner.done()) return Error{Errc::malformed, "not a whole SSH signature"};
  if (auto good = check_ssh_key(signature.public_blob); !good) return std::move(good).error();
  return signature;
}

bool is_exact_armor(std::string_view armored) {
  const auto bytes = from_armor(kLabel, armored);
  return bytes && to_armor(kLabel, *bytes) == armored;
}

Status check_signature(const SshSignature& signature, const MessageDigests& message,
                       std::string_view name_space) {
  if (signature.name_space != name_space)
    return Error{Errc::mismatch, "a signature of the namespace " +
                                     escape_terminal(signature.name_space.substr(0, 60)) + ", not " +
                                     std::string(name_space)};
  std::string_view digest;
  if (signature.hash == "sha512") {
    digest = text_of(message.sha512);
  } else if (signature.hash == "sha256") {
    digest = text_of(message.sha256);
  } else {
    return Error{Errc::unsupported,
                 "a signature over the hash " + escape_terminal(signature.hash.substr(0, 60))};
  }
  return check_ssh_signature(signature.public_blob, signature.bytes,
                             signed_text(name_space, signature.reserved, signature.hash, digest));
}

}  // namespace ctriage::bundle
