#pragma once
// Signatures as `ssh-keygen -Y sign` makes them, PROTOCOL.sshsig of OpenSSH: over the hash of a message, in
// a namespace, by a key from a file or of an agent. What we sign `ssh-keygen -Y verify` accepts, and the
// other way round.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/ssh_key.h"
#include "lib/core/unique_fd.h"
#include "lib/core/values.h"

namespace ctriage::bundle {

constexpr std::string_view kSealNamespace = "ctriage-manifest";
constexpr std::size_t kMaxSignatureBytes = 16 << 10;  // armored

struct MessageDigests {  // of what is signed: ssh-keygen takes either
  Digest sha256{};
  Digest512 sha512{};
};

// Who signs. One caller.
class Signer {
 public:
  virtual ~Signer() = default;
  // The armored signature of a message with that SHA-512, in kSealNamespace. It is verified before it is
  // given. Errc::timeout, denied (an agent that says no), io.
  virtual Result<std::string> sign(const Digest512& message) = 0;
  [[nodiscard]] virtual const std::string& public_blob() const = 0;
  [[nodiscard]] std::string fingerprint() const { return ssh_fingerprint(public_blob()); }
};

// By a file's content: SshPrivateKey::parse. The caller wipes the text.
Result<std::unique_ptr<Signer>> file_signer(std::string_view file);
// By a key of the agent at the other end of `socket`: `chosen` is "" (its only key), a fingerprint SHA256:...
// or a comment. Each question has `timeout_ns` to be answered in: a person may be asked.
constexpr std::int64_t kAgentNs = 60'000'000'000;
Result<std::unique_ptr<Signer>> agent_signer(UniqueFd socket, std::string_view chosen,
                                             std::int64_t timeout_ns = kAgentNs);

struct SshSignature {
  std::string public_blob;
  std::string name_space;
  std::string reserved;  // signed with the rest; empty so far
  std::string hash;      // "sha512", "sha256"
  SshSignatureBytes bytes;
};
Result<SshSignature> parse_signature(std::string_view armored);
// Byte for byte as ssh-keygen writes it: parse_signature allows other line ends and lengths.
bool is_exact_armor(std::string_view armored);
// Errc::mismatch when it is not of that message, or of another namespace; unsupported.
Status check_signature(const SshSignature& signature, const MessageDigests& message,
                       std::string_view name_space = kSealNamespace);

// ssh-keygen(1), "ALLOWED SIGNERS". A time without Z is read as UTC.
struct AllowedSigner {
  std::string principals;  // as the file has them
  std::string public_blob;
  std::vector<std::string> namespaces;  // patterns; none: every one
  std::optional<Timestamp> valid_after;
  std::optional<Timestamp> valid_before;
};
struct AllowedSigners {
  std::vector<AllowedSigner> signers;
  std::vector<std::string> skipped;  // lines that are left out, and why: "line 3: a certificate authority"
  static Result<AllowedSigners> parse(std::string_view file);
  // The principals whose key that is and who may sign in that namespace at that time. Errc::denied says
  // what is wrong: not listed, or listed for other namespaces or another time.
  [[nodiscard]] Result<std::string> find(std::string_view public_blob, std::string_view name_space,
                                         Timestamp at) const;
};

}  // namespace ctriage::bundle
