// Recipients and identities as files have them.
#include <algorithm>

#include "lib/bundle/age.h"
#include "lib/bundle/bech32.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::string_view kRecipientPrefix = "age";
constexpr std::string_view kIdentityPrefix = "age-secret-key-";
constexpr std::size_t kMaxKeys = 256;
constexpr std::size_t kShown = 80;

bool key_of(std::optional<std::string> bytes, Key32& key) {
  const bool good = bytes && bytes->size() == key.size();
  if (good) std::copy_n(bytes_in(*bytes).begin(), key.size(), key.begin());
  if (bytes) wipe(*bytes);
  return good;
}

// Each line that says something, with its number.
template <class F>
Status each_line(std::string_view file, F&& take) {
  if (file.size() > kMaxAgeKeysBytes) return Error{Errc::limit, "a file of keys of over 1 MiB"};
  std::size_t number = 0;
  for (std::string_view line : split(file, '\n')) {
    ++number;
    line = trim(line);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (auto taken = take(line); !taken)
      return std::move(taken).error().within("line " + std::to_string(number));
  }
  return Done{};
}

}  // namespace

std::string AgeRecipient::text() const { return to_bech32(kRecipientPrefix, point); }

Result<AgeRecipient> parse_recipient(std::string_view text) {
  if (text.starts_with("AGE-SECRET-KEY-"))
    return Error{Errc::malformed,
                 "this is a secret key, and belongs to whoever reads: age-keygen -y gives its recipient"};
  if (text.starts_with("ssh-"))
    return Error{Errc::unsupported, "an SSH key as recipient: make one with age-keygen"};
  AgeRecipient recipient;
  const bool lower = std::none_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (lower && key_of(from_bech32(kRecipientPrefix, text), recipient.point)) return recipient;
  const std::string shown = escape_terminal(text.substr(0, kShown));
  const auto one = text.rfind('1');
  if (text.starts_with("age1") && one != 3)
    return Error{Errc::unsupported, shown + ": a recipient of an age plugin, or mistyped"};
  return Error{Errc::malformed, shown + ": not an age recipient, or mistyped (age1...)"};
}

Result<std::vector<AgeRecipient>> parse_recipients(std::string_view file) {
  std::vector<AgeRecipient> recipients;
  auto read = each_line(file, [&](std::string_view line) -> Status {
    auto recipient = parse_recipient(line);
    if (!recipient) return std::move(recipient).error();
    if (recipients.size() == kMaxKeys) return Error{Errc::limit, "more than 256 recipients"};
    recipients.push_back(*recipient);
    return Done{};
  });
  if (!read) return std::move(read).error();
  if (recipients.empty()) return Error{Errc::malformed, "has no recipient (age1...)"};
  return recipients;
}

Result<std::vector<AgeIdentity>> parse_identities(std::string_view file) {
  if (age_form(bytes_in(file)) != AgeForm::none)
    return Error{Errc::unsupported, "the identity file is itself encrypted: age -d it first"};
  if (file.find("-----BEGIN") != std::string_view::npos)
    return Error{Errc::unsupported, "a private key of another kind: an identity of age-keygen is needed"};
  std::vector<AgeIdentity> identities;
  auto read = each_line(file, [&](std::string_view line) -> Status {
    if (line.starts_with("AGE-PLUGIN-"))
      return Error{Errc::unsupported, "an identity of an age plugin: age -d can use it"};
    AgeIdentity identity;
    if (!key_of(from_bech32(kIdentityPrefix, line), identity.secret))
      return Error{Errc::malformed, "not an age identity (AGE-SECRET-KEY-1...)"};
    if (identities.size() == kMaxKeys) return Error{Errc::limit, "more than 256 identities"};
    identities.push_back(identity);
    return Done{};
  });
  if (!read) return std::move(read).error();
  if (identities.empty()) return Error{Errc::malformed, "has no age identity (AGE-SECRET-KEY-1...)"};
  return identities;
}

}  // namespace ctriage::bundle
