#pragma once
// Keys of SSH: Ed25519, ECDSA over the three NIST curves, and RSA to verify (RFC 4253 6.6, 5656, 8332, 8709).
#include <memory>
#include <string>
#include <string_view>

#include "lib/bundle/crypt.h"
#include "lib/core/result.h"

namespace ctriage::bundle {

struct SshSignatureBytes {
  std::string algorithm;  // "ssh-ed25519", "rsa-sha2-512"
  std::string bytes;      // in that algorithm's own form
};

// A public key by its wire form. Errc::malformed; unsupported: a kind we do not know (DSA, security keys,
// certificates), an RSA key under 2048 bits.
Status check_ssh_key(std::string_view blob);
// Errc::mismatch when the signature is not of that text by that key.
Status check_ssh_signature(std::string_view blob, const SshSignatureBytes& signature, std::string_view text);

std::string ssh_key_type(std::string_view blob);
std::string ssh_fingerprint(std::string_view blob);  // "SHA256:" and 43 digits, as ssh-keygen -l prints it
std::string ssh_public_line(std::string_view blob);  // "ssh-ed25519 AAAA..."

class SshPrivateKey {
 public:
  // A file of ssh-keygen's without a passphrase: Ed25519 or ECDSA. What else it is is named.
  static Result<SshPrivateKey> parse(std::string_view file);
  ~SshPrivateKey();
  SshPrivateKey(SshPrivateKey&&) noexcept;
  SshPrivateKey& operator=(SshPrivateKey&&) noexcept;
  [[nodiscard]] const std::string& public_blob() const { return blob_; }
  // The wire form of a signature: string algorithm, string bytes.
  [[nodiscard]] Result<std::string> sign(std::string_view text) const;

 private:
  struct Secret;  // libcrypto's, which zeroes it
  SshPrivateKey(std::string blob, std::unique_ptr<Secret> secret);
  std::string blob_;
  std::unique_ptr<Secret> secret_;
};

}  // namespace ctriage::bundle
