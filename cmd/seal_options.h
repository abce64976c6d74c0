#pragma once
// --sign, --encrypt-to and --no-encrypt, of every command that writes a bundle.
#include <memory>
#include <string>
#include <vector>

#include "lib/bundle/seal_inputs.h"

namespace CLI {
class App;
}

namespace ctriage {

struct SealArguments {
  std::string sign;  // KEYFILE, agent, agent:SHA256:..., agent:COMMENT; empty: not signed
  std::vector<std::string> encrypt_to;
  bool no_encrypt = false;
};
void add_seal_options(CLI::App& app, SealArguments& arguments);

struct Sealing {
  std::shared_ptr<bundle::Signer> signer;
  std::vector<bundle::AgeRecipient> recipients;
  std::string told;  // "encrypted to 2 recipients (/etc/ctriage/recipients), signed by SHA256:..."
};
// Before the sandbox. Recipients are those of the first of --encrypt-to, CTRIAGE_RECIPIENTS (recipients or
// files, blanks between) and /etc/ctriage/recipients that has any. Any that cannot be used is an error:
// nothing is written plain that should not be.
Result<Sealing> open_sealing(const SealArguments& arguments);

}  // namespace ctriage
