// Signatures against ssh-keygen and ssh-agent themselves, both ways.
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "lib/bundle/seal_inputs.h"
#include "lib/bundle/ssh_wire.h"
#include "lib/bundle/sshsig.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

MessageDigests digests_of(std::string_view text) {
  Sha512 hash;
  hash.update(bytes_of(text));
  return {sha256(bytes_of(text)), hash.digest()};
}

struct KeyKind {
  const char* name;
  const char* options;
};
constexpr KeyKind kFileKinds[] = {{"ed25519", "-t ed25519"},
                                  {"p256", "-t ecdsa -b 256"},
                                  {"p384", "-t ecdsa -b 384"},
                                  {"p521", "-t ecdsa -b 521"}};

class SshSig : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return dir_.path() + "/" + name; }
  void make_key(const KeyKind& kind, const std::string& passphrase = "") const {
    ASSERT_EQ(run(std::string("ssh-keygen -q ") + kind.options + " -C " + kind.name + "@lab -N '" +
                  passphrase + "' -f " + path(kind.name)),
              0);
  }
  // What ssh-keygen says of our signature of `message`.
  [[nodiscard]] int check(const std::string& key, const std::string& signature,
                          const std::string& message) const {
    spill(path("signature"), signature);
    spill(path("message"), message);
    spill(path("allowed"), "examiner@lab " + slurp(path(key) + ".pub"));
    return run("ssh-keygen -q -Y verify -f " + path("allowed") + " -I examiner@lab -n ctriage-manifest -s " +
               path("signature") + " <" + path("message") + " >" + path("said") + " 2>&1");
  }
  [[nodiscard]] std::string sign(const std::string& key, const std::string& message,
                                 const std::string& name_space, const std::string& options = "") const {
    spill(path("text"), message);
    ::unlink(path("text.sig").c_str());
    EXPECT_EQ(run("ssh-keygen -q -Y sign " + options + " -f " + path(key) + " -n " + name_space + " " +
                  path("text") + " 2>/dev/null"),
              0);
    return slurp(path("text.sig"));
  }

  TempDir dir_;
};

TEST_F(SshSig, KeygenAcceptsOurs) {
  for (const KeyKind& kind : kFileKinds) {
    SCOPED_TRACE(kind.name);
    make_key(kind);
    auto signer = open_signer(path(kind.name), std::nullopt);
    ASSERT_TRUE(signer) << signer.error().what;
    // r and s are shorter than the curve now and then.
    for (int i = 0; i < 12; ++i) {
      const std::string message = "{\"schema\":\"ctriage.manifest/1\"," + std::to_string(i) + "}\n";
      auto signature = (*signer)->sign(digests_of(message).sha512);
      ASSERT_TRUE(signature) << signature.error().what;
      ASSERT_EQ(check(kind.name, *signature, message), 0) << slurp(path("said"));
      ASSERT_NE(check(kind.name, *signature, message + " "), 0);
    }
    ASSERT_EQ(run("ssh-keygen -l -f " + path(kind.name) + ".pub >" + path("print")), 0);
    EXPECT_NE(slurp(path("print")).find(" " + (*signer)->fingerprint() + " "), std::string::npos);
  }
}

TEST_F(SshSig, WeAcceptKeygens) {
  std::vector<KeyKind> kinds(std::begin(kFileKinds), std::end(kFileKinds));
  kinds.push_back({"rsa", "-t rsa -b 2048"});
  for (const KeyKind& kind : kinds) {
    SCOPED_TRACE(kind.name);
    make_key(kind);
    const std::string message = "the manifest\n";
    for (const char* options : {"", "-O hashalg=sha256"}) {
      const std::string armored = sign(kind.name, message, "ctriage-manifest", options);
      const auto signature = parse_signature(armored);
      ASSERT_TRUE(signature) << signature.error().what;
      const auto good = check_signature(*signature, digests_of(message));
      ASSERT_TRUE(good) << good.error().what;
      EXPECT_EQ(check_signature(*signature, digests_of("another")).error().code, Errc::mismatch);
      const auto allowed = AllowedSigners::parse("who@lab " + slurp(path(kind.name) + ".pub"));
      ASSERT_TRUE(allowed) << allowed.error().what;
      EXPECT_EQ(allowed->find(signature->public_blob, kSealNamespace, {}).value(), "who@lab");
    }
    const auto foreign = parse_signature(sign(kind.name, message, "git")).value();
    EXPECT_EQ(check_signature(foreign, digests_of(message)).error().code, Errc::mismatch);
  }
}

TEST_F(SshSig, EveryFlippedByteIsSeen) {
  for (const KeyKind& kind : {kFileKinds[0], kFileKinds[1]}) {
    make_key(kind);
    const auto digests = digests_of("manifest");
    auto armored = open_signer(path(kind.name), std::nullopt).value()->sign(digests.sha512).value();
    const std::string label = "SSH SIGNATURE";
    std::string bytes = from_armor(label, armored).value();
    const auto good = [&](const std::string& text, const std::string& blob) {
      const auto signature = parse_signature(text);
      return signature && check_signature(*signature, digests) && signature->public_blob == blob;
    };
    const std::string blob = parse_signature(armored).value().public_blob;
    ASSERT_TRUE(good(armored, blob));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (const char mask : {'\x01', '\x80'}) {
        bytes[i] = static_cast<char>(bytes[i] ^ mask);
        ASSERT_FALSE(good(to_armor(label, bytes), blob)) << i;
        bytes[i] = static_cast<char>(bytes[i] ^ mask);
      }
      ASSERT_FALSE(parse_signature(to_armor(label, bytes.substr(0, i)))) << i;
    }
    ASSERT_FALSE(parse_signature(to_armor(label, bytes + "x")));
    for (std::size_t i = 0; i + 1 < armored.size(); ++i)
      ASSERT_FALSE(parse_signature(armored.substr(0, i))) << i;
    ASSERT_FALSE(parse_signature(std::string(kMaxSignatureBytes + 1, 'A')));
  }
}

TEST_F(SshSig, KeyFilesThatDoNotSign) {
  make_key({"locked", "-t ed25519"}, "secret phrase");
  make_key({"rsa", "-t rsa -b 2048"});
  make_key({"pem", "-t ecdsa -m PEM"});
  make_key({"ed25519", "-t ed25519"});
  const auto refused = [&](const std::string& name) {
    auto signer = open_signer(path(name), std::nullopt);
    return signer ? Error{Errc::io, "it signs"} : signer.error();
  };
  for (const char* name : {"locked", "rsa", "pem"}) {
    SCOPED_TRACE(name);
    const Error error = refused(name);
    EXPECT_EQ(error.code, Errc::unsupported) << error.what;
    EXPECT_NE(error.what.find("agent"), std::string::npos) << error.what;
  }
  EXPECT_EQ(refused("missing").code, Errc::not_found);
  EXPECT_EQ(refused(".").code, Errc::unsupported);
  ASSERT_EQ(::chmod(path("ed25519").c_str(), 0640), 0);
  EXPECT_EQ(refused("ed25519").code, Errc::denied);
  ASSERT_EQ(::chmod(path("ed25519.pub").c_str(), 0600), 0);
  EXPECT_EQ(refused("ed25519.pub").code, Errc::malformed);
  EXPECT_EQ(open_signer("agent", std::nullopt).error().code, Errc::not_found);
  EXPECT_EQ(open_signer("agent", path("no-socket")).error().code, Errc::not_found);
  // Cut anywhere, changed anywhere: no key, or still the same.
  const std::string text = slurp(path("ed25519"));
  const std::string blob = SshPrivateKey::parse(text).value().public_blob();
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    ASSERT_FALSE(SshPrivateKey::parse(text.substr(0, i))) << i;
  const std::string label = "OPENSSH PRIVATE KEY";
  std::string bytes = from_armor(label, text).value();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
    const auto key = SshPrivateKey::parse(to_armor(label, bytes));
    // The comment and the options of no KDF are covered by nothing.
    if (key) {
      ASSERT_EQ(key->public_blob(), blob) << i;
    }
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
  }
}

TEST_F(SshSig, AgentSigns) {
  for (const KeyKind& kind : kFileKinds) make_key(kind);
  make_key({"rsa", "-t rsa -b 2048"});
  const std::string socket = path("agent");
  ASSERT_EQ(run("ssh-agent -a " + socket + " >" + path("agent.env")), 0);
  const std::string env = slurp(path("agent.env"));
  const auto at = env.find("SSH_AGENT_PID=");
  ASSERT_NE(at, std::string::npos);
  const int pid = std::atoi(env.c_str() + at + 14);
  const auto add = [&](const std::string& name) {
    return run("SSH_AUTH_SOCK=" + socket + " ssh-add -q " + path(name) + " 2>/dev/null");
  };
  EXPECT_EQ(open_signer("agent", socket).error().code, Errc::not_found);
  EXPECT_EQ(add("ed25519"), 0);
  EXPECT_TRUE(open_signer("agent", socket));
  for (const char* name : {"p256", "p384", "p521", "rsa"}) EXPECT_EQ(add(name), 0);
  const auto ambiguous = open_signer("agent", socket);
  EXPECT_TRUE(!ambiguous && ambiguous.error().what.find("p256@lab") != std::string::npos);
  EXPECT_EQ(open_signer("agent:nobody@lab", socket).error().code, Errc::not_found);
  for (const char* name : {"ed25519", "p256", "p384", "p521", "rsa"}) {
    SCOPED_TRACE(name);
    auto signer = open_signer("agent:" + std::string(name) + "@lab", socket);
    EXPECT_TRUE(signer) << signer.error().what;
    if (!signer) continue;
    EXPECT_TRUE(open_signer("agent:" + (*signer)->fingerprint(), socket));
    const auto signature = (*signer)->sign(digests_of("manifest").sha512);
    EXPECT_TRUE(signature) << signature.error().what;
    if (signature) {
      EXPECT_EQ(check(name, *signature, "manifest"), 0) << slurp(path("said"));
    }
  }
  // Locked between the choice and the seal; then gone.
  auto signer = open_signer("agent:ed25519@lab", socket).value();
  EXPECT_EQ(run("SSH_AUTH_SOCK=" + socket + " ssh-add -q -D 2>/dev/null"), 0);
  EXPECT_EQ(signer->sign(digests_of("x").sha512).error().code, Errc::denied);
  ::kill(pid, SIGTERM);
  for (int i = 0; i < 100 && ::access(socket.c_str(), F_OK) == 0; ++i) ::usleep(20'000);
  EXPECT_FALSE(signer->sign(digests_of("x").sha512));
}

// An agent that answers whatever it likes.
class FakeAgent {
 public:
  explicit FakeAgent(std::vector<std::string> answers) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = UniqueFd(ends[0]);
    thread_ = std::thread([fd = ends[1], answers = std::move(answers)] {
      const UniqueFd end(fd);
      std::array<char, 4'096> request{};
      for (const std::string& answer : answers) {
        if (::read(fd, request.data(), request.size()) <= 0) return;
        if (::write(fd, answer.data(), answer.size()) < 0) return;
      }
      while (::read(fd, request.data(), request.size()) > 0) {
      }
    });
  }
  ~FakeAgent() { thread_.join(); }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;
  Result<std::unique_ptr<Signer>> open() { return agent_signer(std::move(ours_), "", 200'000'000); }

 private:
  UniqueFd ours_;
  std::thread thread_;
};

TEST_F(SshSig, HostileAgents) {
  make_key(kFileKinds[0]);
  const auto key = SshPrivateKey::parse(slurp(path("ed25519"))).value();
  const std::string list =
      ssh_string("\x0c" + ssh_number(1) + ssh_string(key.public_blob()) + ssh_string("c"));
  const struct {
    const char* name;
    std::string answer;
    Errc code;
  } lists[] = {
      {"silent", "", Errc::timeout},
      {"an empty answer", ssh_number(0), Errc::malformed},
      {"a large one", ssh_number(UINT32_MAX), Errc::malformed},
      {"half of one", list.substr(0, 30), Errc::timeout},
      {"failure", ssh_string("\x05"), Errc::denied},
      {"many keys", ssh_string("\x0c" + ssh_number(UINT32_MAX)), Errc::limit},
      {"fewer keys than it says", ssh_string("\x0c" + ssh_number(2) + ssh_string("a") + ssh_string("b")),
       Errc::malformed},
      {"no keys", ssh_string("\x0c" + ssh_number(0)), Errc::not_found},
      {"a key that is none", ssh_string("\x0c" + ssh_number(1) + ssh_string("a") + ssh_string("b")),
       Errc::malformed},
  };
  for (const auto& c : lists) {
    SCOPED_TRACE(c.name);
    FakeAgent agent({c.answer});
    EXPECT_EQ(agent.open().error().code, c.code);
  }
  const auto digest = digests_of("x").sha512;
  const std::string wrong = key.sign("another text").value();
  for (const std::string& answer :
       {ssh_string("\x0e" + ssh_string(wrong)), ssh_string("\x0e" + ssh_string("")), ssh_string("\x0e"),
        ssh_string("\x05"), std::string()}) {
    FakeAgent agent({list, answer});
    auto signer = agent.open();
    ASSERT_TRUE(signer) << signer.error().what;
    EXPECT_FALSE((*signer)->sign(digest)) << "what an agent gives is verified";
    signer->reset();
  }
}

TEST_F(SshSig, AllowedSignersForms) {
  make_key(kFileKinds[0]);
  make_key(kFileKinds[1]);
  const auto key_of = [&](const char* name) { return slurp(path(name) + ".pub"); };
  const std::string key = key_of("ed25519");
  const std::string blob = SshPrivateKey::parse(slurp(path("ed25519"))).value().public_blob();
  const Timestamp now{1'795'289'331, 0};  // 2026-11-21
  const struct {
    const char* name;
    std::string file;
    bool good;
  } cases[] = {
      {"plain", "a@lab " + key, true},
      {"two principals", "a@lab,b@lab " + key, true},
      {"quoted", "\"a@lab\" " + key, true},
      {"tabs and comments", "# list\n\n\ta@lab\t" + key, true},
      {"namespace", "a@lab namespaces=\"ctriage-manifest\" " + key, true},
      {"namespaces", "a@lab namespaces=\"git,ctriage-*\" " + key, true},
      {"another namespace", "a@lab namespaces=\"git\" " + key, false},
      {"not that namespace", "a@lab namespaces=\"*,!ctriage-manifest\" " + key, false},
      {"valid", "a@lab valid-after=\"20260101\",valid-before=\"20270101Z\" " + key, true},
      {"valid to the second", "a@lab valid-after=\"20261121192851Z\" " + key, true},
      {"a second early", "a@lab valid-after=\"20261121192852Z\" " + key, false},
      {"expired", "a@lab valid-before=\"202601010000\" " + key, false},
      {"no time", "a@lab valid-before=\"yesterday\" " + key, false},
      {"expired, and listed again", "a@lab valid-before=\"20200101\" " + key + "b@lab " + key, true},
      {"authority", "a@lab cert-authority " + key, false},
      {"option in capitals", "a@lab Namespaces=\"git\" " + key, false},
      {"unknown option", "a@lab no-touch-required " + key, false},
      {"another key", "a@lab " + key_of("p256"), false},
      {"wrong type", "a@lab ecdsa-sha2-nistp256" + key.substr(key.find(' ')), false},
      {"no key", "a@lab\n", false},
      {"no principal", key, false},
      {"quote without end", "\"a@lab " + key, false},
      {"empty", "", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto allowed = AllowedSigners::parse(c.file);
    EXPECT_EQ(allowed && allowed->find(blob, kSealNamespace, now), c.good);
  }
  const auto skipped = AllowedSigners::parse("ca@lab cert-authority " + key + "a@lab " + key).value();
  ASSERT_EQ(skipped.skipped.size(), 1u);
  EXPECT_EQ(skipped.skipped[0], "line 1: a certificate authority");
}

}  // namespace
}  // namespace ctriage::bundle
