#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/bundle/ssh_wire.h"
#include "lib/bundle/sshsig.h"

// The bytes as a signature (armored, and as what armor holds), a private key, and a list of signers.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage::bundle;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto look = [](std::string_view armored) {
    const auto signature = parse_signature(armored);
    if (!signature) return;
    // Nobody signs a message with a hash of zeros.
    if (check_signature(*signature, {})) std::abort();
    if (signature->public_blob.empty()) std::abort();
  };
  look(text);
  look(to_armor("SSH SIGNATURE", text));
  for (const bool armored : {true, false}) {
    auto key = SshPrivateKey::parse(armored ? std::string(text) : to_armor("OPENSSH PRIVATE KEY", text));
    if (key && !key->sign("text")) std::abort();
  }
  const auto allowed = AllowedSigners::parse(text);
  if (allowed)
    static_cast<void>(allowed->find(allowed->signers[0].public_blob, kSealNamespace, {}).has_value());
  return 0;
}
