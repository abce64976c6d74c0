#include "cmd/seal_options.h"

#include <CLI/CLI.hpp>

#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage {
namespace {

constexpr const char* kRecipientsFile = "/etc/ctriage/recipients";
constexpr const char* kRecipientsVariable = "CTRIAGE_RECIPIENTS";
constexpr const char* kAgentVariable = "SSH_AUTH_SOCK";

struct Configured {
  std::string from;
  std::vector<bundle::AgeRecipient> recipients;
};

// What the node or its administrator says, without an option.
Result<Configured> configured_recipients() {
  std::vector<std::string> words;
  if (const auto value = sys::environment(kRecipientsVariable)) {
    for (const std::string_view word : split_fields(*value)) words.emplace_back(word);
  }
  if (!words.empty()) {
    auto recipients = bundle::open_recipients(words);
    if (!recipients) return std::move(recipients).error().within(kRecipientsVariable);
    return Configured{kRecipientsVariable, *std::move(recipients)};
  }
  auto recipients = bundle::open_recipients({kRecipientsFile});
  if (recipients) return Configured{kRecipientsFile, *std::move(recipients)};
  if (recipients.error().code == Errc::not_found) return Configured{};
  return std::move(recipients).error();
}

std::string recipients_text(std::size_t count) { return counted(count, "recipient", "recipients"); }

Status choose_recipients(const SealArguments& arguments, Sealing& sealing) {
  if (!arguments.encrypt_to.empty()) {
    auto recipients = bundle::open_recipients(arguments.encrypt_to);
    if (!recipients) return std::move(recipients).error().within("--encrypt-to");
    sealing.recipients = *std::move(recipients);
    sealing.told = "encrypted to " + recipients_text(sealing.recipients.size());
    return Done{};
  }
  auto configured = configured_recipients();
  if (arguments.no_encrypt) {
    sealing.told = "NOT ENCRYPTED (--no-encrypt)";
    if (configured && !configured->recipients.empty())
      sealing.told = "NOT ENCRYPTED (--no-encrypt, though " + configured->from + " has " +
                     recipients_text(configured->recipients.size()) + ")";
    return Done{};
  }
  if (!configured) return std::move(configured).error().within("--no-encrypt writes without it");
  if (configured->recipients.empty()) return Done{};
  sealing.told =
      "encrypted to " + recipients_text(configured->recipients.size()) + " (" + configured->from + ")";
  sealing.recipients = std::move(configured->recipients);
  return Done{};
}

}  // namespace

void add_seal_options(CLI::App& app, SealArguments& arguments) {
  app.add_option(
      "--sign", arguments.sign,
      "sign the manifest: an OpenSSH private key file (Ed25519 or ECDSA, no passphrase), or agent, "
      "agent:SHA256:..., agent:COMMENT for a key of ssh-agent");
  auto* encrypt = app.add_option(
      "--encrypt-to", arguments.encrypt_to,
      "encrypt to an age recipient (age1...) or a file of them; may be given again. Else to those "
      "of CTRIAGE_RECIPIENTS or /etc/ctriage/recipients");
  app.add_flag("--no-encrypt", arguments.no_encrypt, "do not encrypt, whatever those say")->excludes(encrypt);
}

Result<Sealing> open_sealing(const SealArguments& arguments) {
  Sealing sealing;
  if (auto chosen = choose_recipients(arguments, sealing); !chosen) return std::move(chosen).error();
  if (arguments.sign.empty()) return sealing;
  auto signer = bundle::open_signer(arguments.sign, sys::environment(kAgentVariable));
  if (!signer) return std::move(signer).error().within("--sign");
  sealing.signer = *std::move(signer);
  sealing.told += (sealing.told.empty() ? "signed by " : ", signed by ") + sealing.signer->fingerprint();
  return sealing;
}

}  // namespace ctriage
