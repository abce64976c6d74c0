// Bundles that are signed and encrypted: the flips, swaps and cuts of bundle_verify_test.cpp once more.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "lib/archive/tar_header.h"
#include "lib/bundle/bech32.h"
#include "lib/bundle/reader.h"
#include "lib/bundle/seal_inputs.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class BundleSeal : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run("ssh-keygen -q -t ed25519 -C examiner@lab -N '' -f " + path("key")), 0);
    ASSERT_EQ(run("ssh-keygen -q -t ecdsa -C other@lab -N '' -f " + path("other")), 0);
    std::fill(identities_[0].secret.begin(), identities_[0].secret.end(), std::byte{5});
    recipients_ = {{x25519_public(identities_[0].secret).value()}};
    signers_ = AllowedSigners::parse("examiner@lab " + slurp(path("key.pub"))).value();
    others_ = AllowedSigners::parse("other@lab " + slurp(path("other.pub"))).value();
  }
  [[nodiscard]] std::string path(const std::string& name) const { return dir_.path() + "/" + name; }
  [[nodiscard]] WriterOptions signing(const std::string& key = "key") const {
    WriterOptions options = inline_options();
    options.signer = open_signer(path(key), std::nullopt).value();
    return options;
  }
  [[nodiscard]] WriterOptions encrypting() const {
    WriterOptions options = inline_options();
    options.recipients = recipients_;
    return options;
  }
  [[nodiscard]] Report check(std::string_view bytes, const AllowedSigners* signers = nullptr) const {
    VerifyOptions options;
    options.signers = signers;
    options.identities = identities_;
    return verify_bytes(bytes, options);
  }

  TempDir dir_;
  std::vector<AgeIdentity> identities_ = std::vector<AgeIdentity>(1);
  std::vector<AgeRecipient> recipients_;
  AllowedSigners signers_;
  AllowedSigners others_;
};

TEST_F(BundleSeal, SignedAndReported) {
  const std::string bytes = small_bundle(dir_, "signed", 0, signing());
  const Report plain = check(bytes);
  ASSERT_EQ(plain.verdict, Verdict::whole) << problems_of(plain);
  EXPECT_EQ(plain.signed_by, signing().signer->fingerprint());
  EXPECT_EQ(plain.signer, "");
  const Report known = check(bytes, &signers_);
  EXPECT_EQ(known.verdict, Verdict::whole) << problems_of(known);
  EXPECT_EQ(known.signer, "examiner@lab");
  const Report strange = check(bytes, &others_);
  EXPECT_EQ(strange.verdict, Verdict::wrong);
  EXPECT_NE(problems_of(strange).find("none of the 1 allowed signers"), std::string::npos)
      << problems_of(strange);
  const Report unsigned_one = check(small_bundle(dir_, "plain"), &signers_);
  EXPECT_EQ(unsigned_one.verdict, Verdict::wrong);
  EXPECT_NE(problems_of(unsigned_one).find("is not signed"), std::string::npos) << problems_of(unsigned_one);
  EXPECT_EQ(unsigned_one.signed_by, "");
  EXPECT_NE(bytes.find("\"signing_key\":\"" + plain.signed_by), std::string::npos)
      << "custody's first record";
}

TEST_F(BundleSeal, StockToolsCheckTheSignature) {
  small_bundle(dir_, "stock", 0, signing());
  ASSERT_EQ(run("cd " + dir_.path() +
                " && tar xf stock.ctriage.tar manifest.json manifest.json.sig && echo \"examiner@lab $(cat "
                "key.pub)\" >allowed && "
                "ssh-keygen -q -Y verify -f allowed -I examiner@lab -n ctriage-manifest -s manifest.json.sig "
                "<manifest.json >said"),
            0);
  ASSERT_NE(run("cd " + dir_.path() +
                " && ssh-keygen -q -Y verify -f allowed -I examiner@lab -n ctriage-manifest -s "
                "manifest.json.sig <allowed >said 2>&1"),
            0);
}

TEST_F(BundleSeal, EveryFlippedByteOfASignedBundleIsWrong) {
  for (const char* key : {"key", "other"}) {
    TempDir own;
    std::string bytes = tiny_bundle(own, signing(key));
    ASSERT_EQ(check(bytes).verdict, Verdict::whole) << problems_of(check(bytes));
    constexpr std::string_view kMasks = "\x01\x80\x20\xff";
    const std::size_t step = std::string_view(key) == "key" ? 1 : 7;  // the second for its signature
    for (std::size_t i = 0; i < bytes.size(); i += step) {
      const char mask = kMasks[i % kMasks.size()];
      bytes[i] = static_cast<char>(bytes[i] ^ mask);
      ASSERT_EQ(check(bytes).verdict, Verdict::wrong) << "byte " << i;
      bytes[i] = static_cast<char>(bytes[i] ^ mask);
    }
    for (std::size_t size = 0; size < bytes.size(); size += step) {
      const Report report = check(std::string_view(bytes).substr(0, size));
      ASSERT_EQ(report.verdict, size >= kTarBlock ? Verdict::cut : Verdict::wrong)
          << size << problems_of(report);
    }
  }
}

// Where the signature of another bundle, of another key, none or two stand.
TEST_F(BundleSeal, SignaturesMovedAbout) {
  const std::string bytes = small_bundle(dir_, "moved", 0, signing());
  const std::string another = tiny_bundle(dir_, signing());
  const auto member = [](const std::string& tar, const std::string& name) {
    std::size_t at = 0;
    while (true) {
      const auto header =
          archive::parse_tar_header(bytes_of(std::string_view(tar).substr(at, kTarBlock))).value();
      if (!header) return std::pair<std::size_t, std::size_t>{0, 0};
      const std::size_t size = kTarBlock + header->size_bytes + archive::tar_padding(header->size_bytes);
      if (header->name == name) return std::pair{at, size};
      at += size;
    }
  };
  const auto signature = member(bytes, "manifest.json.sig");
  const auto foreign = member(another, "manifest.json.sig");
  const auto manifest = member(bytes, "manifest.json");
  const std::string own = bytes.substr(signature.first, signature.second);
  const std::string theirs = another.substr(foreign.first, foreign.second);
  ASSERT_EQ(own.size(), theirs.size());
  const auto with = [&](std::size_t at, std::size_t removed, const std::string& put) {
    std::string changed = bytes;
    return changed.replace(at, removed, put);
  };
  const struct {
    const char* name;
    std::string bytes;
    Verdict verdict;  // nobody said who must sign
    Verdict with_signers;
  } cases[] = {
      {"another bundle's", with(signature.first, signature.second, theirs), Verdict::wrong, Verdict::wrong},
      {"twice", with(signature.first, 0, own), Verdict::wrong, Verdict::wrong},
      {"before the manifest", with(manifest.first, 0, own), Verdict::wrong, Verdict::wrong},
      {"at the end", with(bytes.size() - 2 * kTarBlock, 0, own), Verdict::wrong, Verdict::wrong},
      // The manifest's digest does not name the signature: whoever takes it away is met by --signers.
      {"taken away", with(signature.first, signature.second, ""), Verdict::whole, Verdict::wrong},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(check(c.bytes).verdict, c.verdict);
    EXPECT_EQ(check(c.bytes, &signers_).verdict, c.with_signers);
  }
  // Whole, and custody.jsonl says that somebody was to sign it.
  TestTask t;
  const std::string stripped = with(signature.first, signature.second, "");
  MemorySource source(stripped);
  ASSERT_EQ(verify(source, std::optional<Digest>(), t.task)->verdict, Verdict::whole);
  ASSERT_EQ(t.gaps.count(Impact::degraded), 1U);
  EXPECT_NE(t.gaps.kept().front().error.what.find("NOT SIGNED"), std::string::npos);
}

class Refusing final : public Signer {
 public:
  Result<std::string> sign(const Digest512&) override { return Error{Errc::timeout, "the agent sleeps"}; }
  [[nodiscard]] const std::string& public_blob() const override { return blob_; }

 private:
  std::string blob_ = "blob";
};

TEST_F(BundleSeal, SealedWithoutASignatureThatCannotBeMade) {
  TestTask t;
  WriterOptions options = inline_options();
  options.signer = std::make_shared<Refusing>();
  auto writer = Writer::create(dir_.root(), "refused", options, t.task).value();
  ASSERT_TRUE(writer->add("a", "b", "c"));
  const auto sealed = writer->seal();
  ASSERT_TRUE(sealed);
  EXPECT_EQ(sealed->unsigned_why, "the agent sleeps");
  const Report report = check(slurp(path(sealed->path)));
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
  EXPECT_EQ(report.signed_by, "");
}

TEST_F(BundleSeal, EncryptedIsThePlainBundle) {
  const std::string plain = small_bundle(dir_, "plain");
  WriterOptions options = encrypting();
  options.signer = signing().signer;
  for (const unsigned workers : {0U, 2U}) {
    const std::string name = "sealed" + std::to_string(workers);
    const std::string bytes = small_bundle(dir_, name, workers, options);
    ASSERT_EQ(::access(path(name + ".ctriage.tar.age").c_str(), F_OK), 0);
    const Report report = check(bytes, &signers_);
    ASSERT_EQ(report.verdict, Verdict::whole) << problems_of(report);
    EXPECT_TRUE(report.encrypted);
    EXPECT_EQ(report.last_phase, "files");
    std::string key = to_bech32("age-secret-key-", identities_[0].secret);
    for (char& c : key) c = static_cast<char>(std::toupper(c));
    spill(path("identity"), key + "\n");
    ASSERT_EQ(run("age -d -i " + path("identity") + " -o " + path("opened") + " " +
                  path(name + ".ctriage.tar.age")),
              0);
    const std::string opened = slurp(path("opened"));
    EXPECT_EQ(opened.size(), report.size_bytes);
    EXPECT_EQ(check(opened, &signers_).verdict, Verdict::whole);
    EXPECT_NE(opened.find("\"encrypted_to\":\"" + recipients_[0].text()), std::string::npos);
    EXPECT_NE(bytes, plain);
  }
  TestTask t;
  const std::string bytes = slurp(path("sealed0.ctriage.tar.age"));
  MemorySource closed(bytes);
  const auto refused = verify(closed, VerifyOptions{}, t.task);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::denied);
  EXPECT_NE(refused.error().what.find("1 recipient:"), std::string::npos) << refused.error().what;
  std::vector<AgeIdentity> wrong(1);
  VerifyOptions options_wrong;
  options_wrong.identities = wrong;
  MemorySource again(bytes);
  EXPECT_EQ(verify(again, options_wrong, t.task).error().code, Errc::denied);
}

TEST_F(BundleSeal, NamesAreSharedByBothForms) {
  TestTask t;
  const auto made = [&](const WriterOptions& options) {
    return Writer::create(dir_.root(), "same", options, t.task).value()->seal().value().path;
  };
  EXPECT_EQ(made(encrypting()), "same.ctriage.tar.age");
  EXPECT_EQ(made(inline_options()), "same-2.ctriage.tar");
  EXPECT_EQ(made(encrypting()), "same-3.ctriage.tar.age");
}

TEST_F(BundleSeal, EveryFlippedByteOfAnEncryptedBundle) {
  std::string bytes = tiny_bundle(dir_, encrypting());
  ASSERT_EQ(check(bytes).verdict, Verdict::whole);
  for (std::size_t i = 0; i < bytes.size(); i += i < 300 ? 1 : 7) {
    bytes[i] = static_cast<char>(bytes[i] ^ 0x20);
    ASSERT_EQ(check(bytes).verdict, Verdict::wrong) << "byte " << i;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x20);
  }
}

// Of several chunks: whichever is changed or missing, what stands before it is salvaged, and a change is
// never called a cut but at the very end.
TEST_F(BundleSeal, CutsAndChangesOfALongOne) {
  TestTask t;
  auto writer = Writer::create(dir_.root(), "long", encrypting(), t.task).value();
  const std::string first = noise(100'000, 1);
  ASSERT_TRUE(writer->add("first", first, "x"));
  ASSERT_TRUE(writer->end_phase("state"));
  ASSERT_TRUE(writer->add("second", noise(300'000, 2), "x"));
  const auto sealed = writer->seal().value();
  std::string bytes = slurp(path(sealed.path));
  EXPECT_EQ(sealed.size_bytes, bytes.size());
  ASSERT_EQ(check(bytes).verdict, Verdict::whole);
  for (std::size_t size = 0; size < bytes.size(); size += 4'801) {
    const Report report = check(std::string_view(bytes).substr(0, size));
    // Before the first whole chunk there is nothing to say that it is a bundle.
    const bool some = size >= kAgeChunk + 1'000;
    ASSERT_EQ(report.verdict, some ? Verdict::cut : Verdict::wrong) << size << problems_of(report);
    if (size > 3 * kAgeChunk) {
      ASSERT_EQ(report.last_phase, "state") << size;
    }
  }
  const auto whole = std::string_view(bytes).substr(0, 4 * kAgeChunk);
  const Report cut = check(whole);
  const auto salvaged = std::find_if(cut.salvage.begin(), cut.salvage.end(),
                                     [](const StreamState& s) { return s.name == "first"; });
  ASSERT_NE(salvaged, cut.salvage.end());
  EXPECT_TRUE(salvaged->whole);
  EXPECT_EQ(salvaged->size_bytes, first.size());
  for (std::size_t i = 1'000; i + kAgeChunk < bytes.size(); i += 30'011) {
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
    const Report report = check(bytes);
    ASSERT_EQ(report.verdict, Verdict::wrong) << i;
    ASSERT_NE(problems_of(report).find("it was changed"), std::string::npos) << problems_of(report);
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
  }
}

TEST_F(BundleSeal, ToAPipe) {
  TestTask t;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  std::string bytes;
  std::thread reader([&] {
    const UniqueFd from(ends[0]);
    std::array<char, 65'536> piece{};
    for (ssize_t got = ::read(from.get(), piece.data(), piece.size()); got > 0;
         got = ::read(from.get(), piece.data(), piece.size()))
      bytes.append(piece.data(), static_cast<std::size_t>(got));
  });
  WriterOptions options = encrypting();
  options.signer = signing().signer;
  {
    auto writer = Writer::stream(UniqueFd(ends[1]), "piped", options, t.task).value();
    ASSERT_TRUE(writer->add("large", noise(1 << 20), "x"));
    EXPECT_EQ(writer->seal().value().path, "piped.ctriage.tar.age");
  }
  reader.join();
  const Report report = check(bytes, &signers_);
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
}

// Tags and the signature have their room, too.
TEST_F(BundleSeal, TheLimitIsOfTheFile) {
  TestTask t;
  WriterOptions options = encrypting();
  options.signer = signing().signer;
  options.max_bytes = 20 << 20;
  auto writer = Writer::create(dir_.root(), "limit", options, t.task).value();
  auto data = writer->open("data", Encoding::plain, "x").value();
  const std::string piece = noise(1 << 20);
  auto written = Status(Done{});
  for (int i = 0; i < 40 && written; ++i) written = data->write(bytes_of(piece));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::full);
  EXPECT_FALSE(data->finish(Outcome::partial, "no room"));
  ASSERT_TRUE(writer->record("full", {}));
  const auto sealed = writer->seal();
  ASSERT_TRUE(sealed) << sealed.error().what;
  EXPECT_LE(sealed->size_bytes, options.max_bytes);
  const std::string bytes = slurp(path(sealed->path));
  EXPECT_EQ(bytes.size(), sealed->size_bytes);
  EXPECT_GT(bytes.size(), options.max_bytes - (8 << 20));
  const Report report = check(bytes, &signers_);
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
}

TEST_F(BundleSeal, TextFormIsNamed) {
  TestTask t;
  const std::string text = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";
  MemorySource in(text);
  const auto report = verify(in, VerifyOptions{}, t.task);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::unsupported);
}

}  // namespace
}  // namespace ctriage::bundle
