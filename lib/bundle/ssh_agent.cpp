// draft-miller-ssh-agent: a request is uint32 length, byte type, content; so is the answer.
#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/bundle/ssh_wire.h"
#include "lib/bundle/sshsig_form.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::uint8_t kListKeys = 11;   // SSH_AGENTC_REQUEST_IDENTITIES
constexpr std::uint8_t kKeys = 12;       // SSH_AGENT_IDENTITIES_ANSWER
constexpr std::uint8_t kSign = 13;       // SSH_AGENTC_SIGN_REQUEST
constexpr std::uint8_t kSigned = 14;     // SSH_AGENT_SIGN_RESPONSE
constexpr std::uint32_t kRsaSha512 = 4;  // SSH_AGENT_RSA_SHA2_512
constexpr std::size_t kMaxAnswer = 256 << 10;
constexpr std::size_t kMaxKeys = 2'048;
constexpr std::size_t kShown = 100;

class Agent {
 public:
  Agent(UniqueFd socket, std::int64_t timeout_ns) : socket_(std::move(socket)), timeout_ns_(timeout_ns) {}

  // The content of an answer of that type.
  Result<std::string> ask(std::uint8_t type, std::string_view content, std::uint8_t wanted) {
    const std::int64_t until_ns = sys::boottime_ns() + timeout_ns_;
    const std::string request = ssh_string(static_cast<char>(type) + std::string(content));
    // A few hundred bytes: a socket takes them whole, or is full of what nobody reads.
    if (auto sent = sys::send(socket_.get(), bytes_in(request)); !sent)
      return std::move(sent).error().within("ssh-agent");
    std::array<std::byte, 4> head{};
    if (auto got = receive(head, until_ns); !got) return std::move(got).error();
    const std::uint32_t size = ByteCursor(head, std::endian::big).u32();
    if (size == 0 || size > kMaxAnswer)
      return Error{Errc::malformed, "ssh-agent: an answer of a strange size"};
    std::string answer(size, '\0');
    if (auto got = receive(std::as_writable_bytes(std::span(answer)), until_ns); !got)
      return std::move(got).error();
    if (static_cast<std::uint8_t>(answer[0]) != wanted)
      return Error{Errc::denied, type == kSign ? "ssh-agent: it refuses to sign (locked, or not confirmed)"
                                               : "ssh-agent: it refuses to list its keys"};
    return answer.substr(1);
  }

 private:
  Status receive(std::span<std::byte> into, std::int64_t until_ns) {
    while (!into.empty()) {
      const std::int64_t left_ns = until_ns - sys::boottime_ns();
      if (left_ns <= 0) return Error{Errc::timeout, "ssh-agent: no answer in time"};
      std::array<pollfd, 1> watched{{{socket_.get(), POLLIN, 0}}};
      auto ready = sys::poll(watched, left_ns);
      if (!ready && ready.error().number == EINTR) continue;  // the seal is not given up for a signal
      if (!ready) return std::move(ready).error().within("ssh-agent");
      if (*ready == 0) continue;
      auto got = sys::receive(socket_.get(), into);
      if (!got && (got.error().number == EINTR || got.error().number == EAGAIN)) continue;
      if (!got) return std::move(got).error().within("ssh-agent");
      if (got->size == 0) return Error{Errc::io, "ssh-agent: it hung up"};
      into = into.subspan(got->size);
    }
    return Done{};
  }

  UniqueFd socket_;
  std::int64_t timeout_ns_;
};

struct AgentKey {
  std::string blob;
  std::string comment;
};

Result<std::vector<AgentKey>> keys_of(Agent& agent) {
  auto answer = agent.ask(kListKeys, {}, kKeys);
  if (!answer) return std::move(answer).error();
  SshReader in(*answer);
  const std::uint32_t count = in.number();
  if (count > kMaxKeys) return Error{Errc::limit, "ssh-agent: over 2048 keys"};
  std::vector<AgentKey> keys;
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    AgentKey key;
    key.blob = in.string();
    key.comment = in.string();
    // Certificates stand beside their keys.
    if (in.ok() && ssh_key_type(key.blob).find("-cert-v0") == std::string::npos)
      keys.push_back(std::move(key));
  }
  if (!in.done()) return Error{Errc::malformed, "ssh-agent: its list of keys is none"};
  return keys;
}

std::string list_text(const std::vector<AgentKey>& keys) {
  std::string text;
  for (const AgentKey& key : keys) {
    if (text.size() > 1'000) return text + ", ...";
    text += (text.empty() ? "" : ", ") + ssh_fingerprint(key.blob) + " (" +
            escape_terminal(key.comment.substr(0, kShown)) + ")";
  }
  return text;
}

Result<AgentKey> choose(std::vector<AgentKey> keys, std::string_view chosen) {
  if (keys.empty()) return Error{Errc::not_found, "ssh-agent: it has no key (ssh-add)"};
  const std::string all = list_text(keys);
  std::erase_if(keys, [&](const AgentKey& key) {
    return !chosen.empty() && ssh_fingerprint(key.blob) != chosen && key.comment != chosen;
  });
  const std::string wanted = escape_terminal(chosen.substr(0, kShown));
  if (keys.empty()) return Error{Errc::not_found, "ssh-agent: no key " + wanted + "; it has " + all};
  if (keys.size() > 1)
    return Error{Errc::malformed, "ssh-agent: which key? agent:SHA256:... chooses one of " + list_text(keys)};
  return keys.front();
}

class AgentSigner final : public Signer {
 public:
  AgentSigner(Agent agent, std::string blob) : agent_(std::move(agent)), blob_(std::move(blob)) {}
  Result<std::string> sign(const Digest512& message) override {
    const std::uint32_t flags = ssh_key_type(blob_) == "ssh-rsa" ? kRsaSha512 : 0;
    auto answer =
        agent_.ask(kSign, ssh_string(blob_) + ssh_string(seal_text(message)) + ssh_number(flags), kSigned);
    if (!answer) return answer;
    SshReader in(*answer);
    const std::string_view signature = in.string();
    if (!in.done()) return Error{Errc::malformed, "ssh-agent: its signature is none"};
    return finish_signature(blob_, signature, message);
  }
  [[nodiscard]] const std::string& public_blob() const override { return blob_; }

 private:
  Agent agent_;
  std::string blob_;
};

}  // namespace

Result<std::unique_ptr<Signer>> agent_signer(UniqueFd socket, std::string_view chosen,
                                             std::int64_t timeout_ns) {
  Agent agent(std::move(socket), timeout_ns);
  auto keys = keys_of(agent);
  if (!keys) return std::move(keys).error();
  auto key = choose(*std::move(keys), chosen);
  if (!key) return std::move(key).error();
  if (auto good = check_ssh_key(key->blob); !good) return std::move(good).error();
  return std::unique_ptr<Signer>(std::make_unique<AgentSigner>(std::move(agent), std::move(key->blob)));
}

}  // namespace ctriage::bundle
