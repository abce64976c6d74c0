// age v1 against the program itself, both ways, and against whoever cuts or changes a file.
#include <sys/wait.h>

#include <cstdlib>

#include "lib/bundle/age.h"
#include "lib/bundle/bech32.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

class StringSink final : public ByteSink {
 public:
  Status write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Done{};
  }
  std::string text;
};

// Gives a few bytes at a time: nothing may depend on how much a read brings.
class SlowSource final : public ByteSource {
 public:
  SlowSource(std::string_view text, std::size_t most) : in_(text), most_(most) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    return in_.read(into.first(std::min(into.size(), most_)));
  }

 private:
  MemorySource in_;
  std::size_t most_;
};

int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

AgeIdentity identity_of(unsigned seed) {
  AgeIdentity identity;
  const std::string bytes = noise(32, seed);
  std::copy_n(bytes_of(bytes).begin(), 32, identity.secret.begin());
  return identity;
}

AgeRecipient recipient_of(const AgeIdentity& identity) { return {x25519_public(identity.secret).value()}; }

std::string identity_text(const AgeIdentity& identity) {
  std::string text = to_bech32("age-secret-key-", identity.secret);
  for (char& c : text) c = static_cast<char>(std::toupper(c));
  return text + "\n";
}

std::string encrypt(std::string_view plain, std::span<const AgeRecipient> recipients, std::size_t piece) {
  StringSink out;
  auto sink = AgeSink::create(out, recipients).value();
  for (std::size_t at = 0; at < plain.size(); at += piece) {
    EXPECT_TRUE(sink->write(bytes_of(plain.substr(at, piece))));
  }
  EXPECT_TRUE(sink->finish());
  return out.text;
}

struct Decrypted {
  std::string text;
  std::optional<Error> error;
};

Decrypted decrypt(ByteSource& in, const std::vector<AgeIdentity>& identities) {
  Decrypted done;
  auto source = AgeSource::open(in, identities);
  if (!source) {
    done.error = source.error();
    return done;
  }
  std::array<std::byte, 10'000> piece{};
  while (true) {
    auto got = (*source)->read(piece);
    if (!got) {
      done.error = got.error();
      return done;
    }
    if (*got == 0) return done;
    done.text.append(reinterpret_cast<const char*>(piece.data()), *got);
  }
}

Decrypted decrypt(std::string_view text, const std::vector<AgeIdentity>& identities) {
  MemorySource in(text);
  return decrypt(in, identities);
}

constexpr std::size_t kSizes[] = {0, 1, 16, 65'519, 65'535, 65'536, 65'537, 131'072, 131'073, 3'000'000};

TEST(BundleAge, TheProgramReadsOurs) {
  TempDir dir;
  ASSERT_EQ(run("age-keygen -o " + dir.path() + "/key 2>" + dir.path() + "/said"), 0);
  ASSERT_EQ(run("age-keygen -y " + dir.path() + "/key >" + dir.path() + "/recipients"), 0);
  const auto recipients = parse_recipients(slurp(dir.path() + "/recipients")).value();
  const auto identities = parse_identities(slurp(dir.path() + "/key")).value();
  ASSERT_EQ(recipient_of(identities[0]).text() + "\n", slurp(dir.path() + "/recipients"));
  for (const std::size_t size : kSizes) {
    for (const std::size_t piece : {std::size_t{777}, std::size_t{65'536}, std::size_t{1} << 20}) {
      if (piece == 777 && size > 200'000) continue;
      const std::string plain = noise(size);
      const std::string sealed = encrypt(plain, recipients, piece);
      spill(dir.path() + "/sealed", sealed);
      ASSERT_EQ(run("age -d -i " + dir.path() + "/key -o " + dir.path() + "/plain " + dir.path() + "/sealed"),
                0)
          << size;
      ASSERT_EQ(slurp(dir.path() + "/plain"), plain) << size;
      const auto encryptor = AgeEncryptor::create(recipients).value();
      ASSERT_EQ(encryptor.stored_bytes(size), sealed.size()) << size;
      ASSERT_EQ(encryptor.plain_bytes(sealed.size()), size) << size;
      EXPECT_EQ(decrypt(sealed, identities).text, plain);
    }
  }
}

TEST(BundleAge, WeReadTheProgramsOwn) {
  TempDir dir;
  const std::vector<AgeIdentity> identities{identity_of(1), identity_of(2)};
  const std::string first = recipient_of(identities[0]).text();
  const std::string second = recipient_of(identities[1]).text();
  ASSERT_EQ(run("ssh-keygen -q -t ed25519 -N '' -f " + dir.path() + "/ssh"), 0);
  for (const std::size_t size : kSizes) {
    const std::string plain = noise(size);
    spill(dir.path() + "/plain", plain);
    // The SSH recipient's stanza is of a kind we do not know, and stands before ours.
    ASSERT_EQ(run("age -R " + dir.path() + "/ssh.pub -r " + first + " -r " + second + " -o " + dir.path() +
                  "/sealed " + dir.path() + "/plain"),
              0);
    const std::string sealed = slurp(dir.path() + "/sealed");
    for (const AgeIdentity& identity : identities) {
      const Decrypted done = decrypt(sealed, {identity});
      ASSERT_FALSE(done.error) << done.error->what;
      ASSERT_EQ(done.text, plain) << size;
    }
    MemorySource in(sealed);
    const AgeInfo info = describe_age(in).value();
    EXPECT_EQ(info.recipients, 2u);
    EXPECT_EQ(info.others, 1u);
    EXPECT_FALSE(info.passphrase);
    if (size > 200'000) continue;
    SlowSource slow(sealed, 7);
    EXPECT_EQ(decrypt(slow, identities).text, plain);
  }
}

TEST(BundleAge, WhatWeDoNotReadIsNamed) {
  TempDir dir;
  const std::vector<AgeIdentity> identities{identity_of(1)};
  const std::string recipient = recipient_of(identities[0]).text();
  spill(dir.path() + "/plain", "x");
  ASSERT_EQ(run("age -a -r " + recipient + " -o " + dir.path() + "/armored " + dir.path() + "/plain"), 0);
  const std::string armored = slurp(dir.path() + "/armored");
  EXPECT_EQ(age_form(bytes_of(armored)), AgeForm::armored);
  EXPECT_EQ(decrypt(armored, identities).error->code, Errc::unsupported);
  // What age writes with -p: its stanza can hold no other.
  const std::string locked = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n" +
                             std::string(43, 'A') + "\n--- " + std::string(43, 'A') + "\n";
  EXPECT_EQ(decrypt(locked, identities).error->code, Errc::denied);
  EXPECT_NE(decrypt(locked, identities).error->what.find("passphrase"), std::string::npos);
  const std::vector<AgeRecipient> others{recipient_of(identity_of(9))};
  const std::string foreign = encrypt("text", others, 9);
  EXPECT_EQ(decrypt(foreign, identities).error->code, Errc::denied);
  EXPECT_EQ(decrypt(foreign, {}).error->code, Errc::denied);
  EXPECT_EQ(age_form(bytes_of(foreign)), AgeForm::binary);
  EXPECT_EQ(age_form(bytes_of("ustar")), AgeForm::none);
}

TEST(BundleAge, EveryCutGivesItsWholeChunks) {
  const std::vector<AgeIdentity> identities{identity_of(1)};
  const std::vector<AgeRecipient> recipients{recipient_of(identities[0])};
  const std::string plain = noise(2 * kAgeChunk + 100);
  const std::string sealed = encrypt(plain, recipients, 5'000);
  const std::size_t header = sealed.size() - plain.size() - 3 * Aead::kTagBytes;
  const auto look = [&](std::size_t size) {
    const Decrypted done = decrypt(std::string_view(sealed).substr(0, size), identities);
    ASSERT_TRUE(done.error) << size;
    ASSERT_EQ(done.error->code, Errc::truncated) << size << done.error->what;
    const std::size_t whole = size < header ? 0 : (size - header) / (kAgeChunk + Aead::kTagBytes) * kAgeChunk;
    ASSERT_EQ(done.text, plain.substr(0, whole)) << size;
  };
  for (std::size_t size = 0; size < header + 40; ++size) look(size);
  for (std::size_t size = header + 60; size < sealed.size(); size += 997) look(size);
  for (std::size_t i = 1; i <= 2; ++i) {
    const std::size_t end = header + i * (kAgeChunk + Aead::kTagBytes);
    for (std::size_t size = end - 20; size < end + 20; ++size) look(size);
  }
  for (std::size_t size = sealed.size() - 130; size < sealed.size(); ++size) look(size);
}

TEST(BundleAge, EveryFlippedByteIsSeen) {
  const std::vector<AgeIdentity> identities{identity_of(1)};
  const std::vector<AgeRecipient> recipients{recipient_of(identities[0]), recipient_of(identity_of(2))};
  const std::string plain = "the last chunk is short";
  std::string sealed = encrypt(plain, recipients, 100);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    for (const char mask : {'\x01', '\x80', '\x20'}) {
      sealed[i] = static_cast<char>(sealed[i] ^ mask);
      const Decrypted done = decrypt(sealed, identities);
      ASSERT_TRUE(done.error) << i;
      ASSERT_EQ(done.text, "") << i;
      sealed[i] = static_cast<char>(sealed[i] ^ mask);
    }
  }
  // Of a file of several chunks: one changed, two swapped, one left out, one twice, something behind.
  const std::string large = noise(3 * kAgeChunk);
  const std::string good = encrypt(large, recipients, 100'000);
  constexpr std::size_t kStep = kAgeChunk + Aead::kTagBytes;
  const std::size_t header = good.size() - 3 * kStep;
  const auto chunk = [&](std::size_t i) { return good.substr(header + i * kStep, kStep); };
  const std::string head = good.substr(0, header);
  ASSERT_EQ(decrypt(head + chunk(0) + chunk(1) + chunk(2), identities).text, large);
  const struct {
    const char* name;
    std::string bytes;
    Errc code;
    std::size_t given;
  } cases[] = {
      {"swapped", head + chunk(1) + chunk(0) + chunk(2), Errc::mismatch, 0},
      {"left out", head + chunk(0) + chunk(2), Errc::mismatch, 1},
      {"twice", head + chunk(0) + chunk(0) + chunk(1) + chunk(2), Errc::mismatch, 1},
      {"behind", good + "x", Errc::mismatch, 2},
      {"ends a chunk early", head + chunk(0) + chunk(1), Errc::truncated, 2},
      {"changed in the middle", head + chunk(0) + std::string(kStep, 'x') + chunk(2), Errc::mismatch, 1},
      {"changed at the end", head + chunk(0) + chunk(1) + std::string(kStep, 'x'), Errc::mismatch, 2},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Decrypted done = decrypt(c.bytes, identities);
    ASSERT_TRUE(done.error);
    EXPECT_EQ(done.error->code, c.code) << done.error->what;
    EXPECT_EQ(done.text, large.substr(0, c.given * kAgeChunk));
  }
}

TEST(BundleAge, HostileHeaders) {
  const std::vector<AgeIdentity> identities{identity_of(1)};
  const std::string intro = "age-encryption.org/v1\n";
  const std::string stanza = "-> X25519 " + std::string(43, 'A') + "\n" + std::string(43, 'A') + "\n";
  const std::string mac = "--- " + std::string(43, 'A') + "\n";
  std::string many;
  for (int i = 0; i < 1'100; ++i) many += "-> a b\n\n";
  const struct {
    const char* name;
    std::string text;
    Errc code;
  } cases[] = {
      {"empty", "", Errc::truncated},
      {"another version", "age-encryption.org/v2\n", Errc::unsupported},
      {"a tar", std::string(2'000, '\0') + "\n", Errc::malformed},
      {"a line without end", intro + "-> " + std::string(10'000, 'a'), Errc::limit},
      {"a line without end at the start", std::string(10'000, 'a'), Errc::limit},
      {"no stanza", intro + mac, Errc::malformed},
      {"too many", intro + many + mac, Errc::limit},
      {"a point that makes no secret", intro + stanza + mac + std::string(40, 'x'), Errc::malformed},
      {"no arguments", intro + "-> X25519\n" + std::string(43, 'A') + "\n" + mac, Errc::malformed},
      {"two blanks", intro + "-> X25519  A\n\n" + mac, Errc::malformed},
      {"no words", intro + "-> \n\n" + mac, Errc::malformed},
      {"a control character", intro + "-> a\x01\n\n" + mac, Errc::malformed},
      {"padded base64", intro + "-> a b\nAA==\n" + mac, Errc::malformed},
      {"base64 with bits left", intro + "-> a b\nAB\n" + mac, Errc::malformed},
      {"a long body line", intro + "-> a b\n" + std::string(68, 'A') + "\n" + mac, Errc::malformed},
      {"a body without end", intro + "-> a b\n" + std::string(64, 'A') + "\n" + mac, Errc::malformed},
      {"a short MAC", intro + stanza + "--- AAAA\n", Errc::malformed},
      {"an unknown one only", intro + "-> a b\n\n" + mac, Errc::denied},
      {"CR LF", "age-encryption.org/v1\r\n", Errc::unsupported},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Decrypted done = decrypt(c.text, identities);
    ASSERT_TRUE(done.error);
    EXPECT_EQ(done.error->code, c.code) << done.error->what;
  }
}

TEST(BundleAge, Keys) {
  const AgeIdentity identity = identity_of(3);
  const std::string recipient = recipient_of(identity).text();
  const std::string secret = identity_text(identity);
  const auto two = parse_recipients("# the team\n\n" + recipient + "\r\n  " + recipient + "  \n");
  ASSERT_TRUE(two) << two.error().what;
  EXPECT_EQ(two->size(), 2u);
  EXPECT_EQ(parse_identities("# created: today\n" + secret).value()[0].secret, identity.secret);
  std::string flipped = recipient;
  for (std::size_t i = 0; i < recipient.size(); ++i) {
    flipped[i] = recipient[i] == 'q' ? 'p' : 'q';
    EXPECT_FALSE(parse_recipient(flipped)) << i;
    flipped[i] = recipient[i];
    EXPECT_FALSE(parse_recipient(recipient.substr(0, i)));
  }
  std::string upper = recipient;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_FALSE(parse_recipient(upper));
  EXPECT_FALSE(parse_recipients(""));
  EXPECT_FALSE(parse_recipients("# nobody\n"));
  EXPECT_FALSE(parse_recipients(std::string(2 << 20, '#')));
  EXPECT_EQ(parse_recipient("ssh-ed25519 AAAA").error().code, Errc::unsupported);
  EXPECT_EQ(parse_recipient("age1yubikey1qqqq").error().code, Errc::unsupported);
  // Whatever is wrong with a secret, no message repeats it.
  const auto swapped = parse_recipients(secret);
  ASSERT_FALSE(swapped);
  EXPECT_EQ(swapped.error().what.find(secret.substr(20, 30)), std::string::npos);
  const auto broken = parse_identities(secret.substr(0, 70) + "\n");
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().what.find(secret.substr(20, 30)), std::string::npos);
  EXPECT_EQ(parse_identities("AGE-PLUGIN-YUBIKEY-1AAAA\n").error().code, Errc::unsupported);
  EXPECT_EQ(parse_identities("-----BEGIN OPENSSH PRIVATE KEY-----\n").error().code, Errc::unsupported);
  EXPECT_EQ(parse_identities("age-encryption.org/v1\n").error().code, Errc::unsupported);
}

}  // namespace
}  // namespace ctriage::bundle
