#include "lib/bundle/seal_inputs.h"

#include <fcntl.h>

#include <algorithm>

#include "lib/core/sys.h"
#include "lib/core/sys_unix.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxKeyFile = 4 << 20;
constexpr std::uint32_t kOthers = 077;
constexpr std::string_view kAgent = "agent";

}  // namespace

Result<std::string> read_key_file(const std::string& path, Secrecy secrecy) {
  // Non-blocking: opening a FIFO would wait for whoever writes to it.
  auto file = sys::openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return std::move(file).error();
  auto info = sys::stat_fd(file->get(), path);
  if (!info) return std::move(info).error();
  if (!S_ISREG(info->stx_mode)) return Error{Errc::unsupported, path + ": not a regular file"};
  if (secrecy == Secrecy::secret && (info->stx_mode & kOthers) != 0)
    return Error{Errc::denied, path + ": others may read this private key: chmod 600"};
  if (info->stx_size > kMaxKeyFile) return Error{Errc::limit, path + ": over 4 MiB"};
  std::string text(static_cast<std::size_t>(info->stx_size), '\0');
  auto got = sys::pread_full(file->get(), std::as_writable_bytes(std::span(text)), 0, path);
  if (!got) return std::move(got).error();
  text.resize(*got);
  return text;
}

Result<std::unique_ptr<Signer>> open_signer(const std::string& choice,
                                            const std::optional<std::string>& agent_socket) {
  const bool chosen = choice.starts_with("agent:");
  if (choice != kAgent && !chosen) {
    auto text = read_key_file(choice, Secrecy::secret);
    if (!text) return std::move(text).error();
    auto signer = file_signer(*text);
    wipe(*text);
    if (!signer) return std::move(signer).error().within(choice);
    return signer;
  }
  if (!agent_socket || agent_socket->empty())
    return Error{Errc::not_found, "no ssh-agent: SSH_AUTH_SOCK is not set (sudo drops it)"};
  auto socket = sys::unix_connect(*agent_socket);
  if (!socket) return std::move(socket).error().within("ssh-agent");
  return agent_signer(*std::move(socket), chosen ? std::string_view(choice).substr(kAgent.size() + 1) : "");
}

Result<std::vector<AgeRecipient>> open_recipients(const std::vector<std::string>& given) {
  std::vector<AgeRecipient> all;
  const auto add = [&](const AgeRecipient& recipient) {
    const bool known = std::any_of(all.begin(), all.end(),
                                   [&](const AgeRecipient& r) { return r.point == recipient.point; });
    if (!known) all.push_back(recipient);
  };
  for (const std::string& word : given) {
    const bool key = word.starts_with("age1") && word.find('/') == std::string::npos;
    if (key || word.starts_with("AGE-SECRET-KEY-") || word.starts_with("ssh-")) {
      auto recipient = parse_recipient(word);
      if (!recipient) return std::move(recipient).error();
      add(*recipient);
      continue;
    }
    auto text = read_key_file(word, Secrecy::open);
    if (!text) return std::move(text).error();
    auto recipients = parse_recipients(*text);
    wipe(*text);  // it may be the wrong file
    if (!recipients) return std::move(recipients).error().within(word);
    for (const AgeRecipient& recipient : *recipients) add(recipient);
  }
  return all;
}

}  // namespace ctriage::bundle
