// Places and logins as people write them, and what of a bundle lies where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lib/bundle/volumes.h"
#include "lib/core/stream.h"
#include "lib/core/sys.h"
#include "lib/transfer/connect.h"
#include "lib/transfer/journal.h"
#include "lib/transfer/parts.h"
#include "lib/transfer/secrets.h"
#include "lib/transfer/sigv4.h"
#include "lib/transfer/url.h"
#include "tests/temp_dir.h"

namespace ctriage::transfer {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

using testing::HasSubstr;
using testing::Not;

TEST(TransferUrl, Places) {
  const struct {
    std::string_view typed;
    Scheme scheme;
    std::string_view user, host;
    std::uint16_t port;
    std::string_view path, place;
  } table[] = {
      {"file:/mnt/usb/", Scheme::file, "", "", 0, "/mnt/usb", "file:/mnt/usb"},
      {"file:///mnt", Scheme::file, "", "", 0, "/mnt", "file:/mnt"},
      {"sftp://eve@host:2222/in/x", Scheme::sftp, "eve", "host", 2222, "/in/x", "sftp://host:2222/in/x"},
      {"sftp://host", Scheme::sftp, "", "host", 0, "/", "sftp://host/"},
      {"ftps://[2001:db8::1]:990/a%20b/", Scheme::ftps, "", "2001:db8::1", 990, "/a b",
       "ftps://[2001:db8::1]:990/a%20b"},
      {"https://u%40x@host/p", Scheme::https, "u@x", "host", 0, "/p", "https://host/p"},
      {"s3://bucket/prefix", Scheme::s3, "", "bucket", 0, "/prefix", "s3://bucket/prefix"},
      {"rsync+ssh://h/dir", Scheme::rsync_ssh, "", "h", 0, "/dir", "rsync+ssh://h/dir"},
      {"smb://h/share/dir", Scheme::smb, "", "h", 0, "/share/dir", "smb://h/share/dir"},
  };
  for (const auto& row : table) {
    const auto url = parse_url(row.typed, false);
    ASSERT_TRUE(url) << row.typed << ": " << url.error().what;
    EXPECT_EQ(url->scheme, row.scheme) << row.typed;
    EXPECT_EQ(url->user, row.user) << row.typed;
    EXPECT_EQ(url->host, row.host) << row.typed;
    EXPECT_EQ(url->port, row.port) << row.typed;
    EXPECT_EQ(url->path, row.path) << row.typed;
    EXPECT_EQ(place_of(*url), row.place) << row.typed;
  }
}

TEST(TransferUrl, SecretsAndNonsenseAreRefusedAndNotRepeated) {
  for (const std::string typed :
       {"sftp://eve:hunter2@host/", "https://host/p?sig=hunter2", "https://host/#hunter2", "gopher://hunter2",
        "sftp://host/../hunter2", "file:/a/../hunter2", "sftp://host/%0ahunter2", "sftp://ho st/hunter2",
        "sftp://host:0/hunter2", "sftp://host:70000/hunter2", "sftp:/host/hunter2", "sftp:///hunter2",
        "file:hunter2", "sftp://host/%2", "sftp://-oProxyCommand=hunter2/", "sftp://-hunter2@host/",
        "s3://[::1/hunter2", ""}) {
    const auto url = read_url(typed);
    ASSERT_FALSE(url) << typed;
    EXPECT_THAT(url.error().what, Not(HasSubstr("hunter2"))) << typed;
  }
  EXPECT_FALSE(parse_url("https://host/" + std::string(5000, 'a'), false));
}

TEST(TransferUrl, ASignedUrlIsReadFromAPrivateFile) {
  const TempDir dir;
  const std::string path = dir.path() + "/url";
  dir.write("url", "https://host/obj?sig=hunter2\n");
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  auto refused = read_url("@" + path);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::denied);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  const auto url = read_url("@" + path);
  ASSERT_TRUE(url) << url.error().what;
  EXPECT_EQ(url->query, "sig=hunter2");
  EXPECT_TRUE(url->one_object);
  EXPECT_EQ(place_of(*url), "https://host/obj");
}

TEST(TransferSecrets, Netrc) {
  const std::string_view netrc =
      "machine a login eve password \"p w\\\"x\"\n# machine b\nmachine b\n login bob\n password s3\n"
      "machine b login carl password c\ndefault login anonymous password me\nmacdef init\nmachine z login "
      "zed\n";
  const struct {
    std::string_view host, user, expected_user, expected_password;
  } table[] = {
      {"a", "", "eve", "p w\"x"},   {"b", "", "bob", "s3"},   {"b", "carl", "carl", "c"},
      {"c", "", "anonymous", "me"}, {"a", "mallory", "", ""}, {"z", "", "anonymous", "me"},
  };
  for (const auto& row : table) {
    const Login login = login_of(netrc, row.host, row.user);
    EXPECT_EQ(login.user, row.expected_user) << row.host << " " << row.user;
    EXPECT_EQ(login.password.view(), row.expected_password) << row.host << " " << row.user;
  }
  for (std::size_t cut = 0; cut < netrc.size(); ++cut) (void)login_of(netrc.substr(0, cut), "b", "");
}

TEST(TransferParts, Names) {
  const std::string whole = "IR-1_node_pod.ctriage.tar.age";
  EXPECT_EQ(bundle::volume_name(whole, 0), whole + ".000");
  EXPECT_EQ(bundle::volume_name(whole, 1234), whole + ".1234");
  EXPECT_EQ(manifest_note(whole, Digest{}).name, "IR-1_node_pod.manifest.sha256");
  Item volume = to_item({"x", "abc"});
  EXPECT_EQ(complete_note(whole, {&volume, 1}).text,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  x\n");
}

// AWS's "get-vanilla" and "get-vanilla-query-order-key-case", and the examples for S3 of its documentation.
TEST(TransferSigV4, PublishedVectors) {
  constexpr std::string_view kSuite = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
  constexpr std::string_view kDocs = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const auto digest_of_text = [](std::string_view text) {
    Sha256 hash;
    hash.update(text);
    return hash.digest();
  };
  const struct {
    std::string_view service, access, secret;
    AwsRequest request;
    std::string_view signature;
  } table[] = {
      {"service",
       "AKIDEXAMPLE",
       kSuite,
       {"GET", "example.amazonaws.com", "/", {}, {}, digest_of_text(""), {1440938160, 0}},
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"service",
       "AKIDEXAMPLE",
       kSuite,
       {"GET",
        "example.amazonaws.com",
        "/",
        {{"Param2", "value2"}, {"Param1", "value1"}},
        {},
        digest_of_text(""),
        {1440938160, 0}},
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"s3",
       "AKIAIOSFODNN7EXAMPLE",
       kDocs,
       {"GET",
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        {},
        {{"range", "bytes=0-9"}},
        digest_of_text(""),
        {1369353600, 0}},
       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {"s3",
       "AKIAIOSFODNN7EXAMPLE",
       kDocs,
       {"PUT",
        "examplebucket.s3.amazonaws.com",
        "/test%24file.text",
        {},
        {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        digest_of_text("Welcome to Amazon S3."),
        {1369353600, 0}},
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
  };
  for (const auto& row : table) {
    AwsKeys keys;
    keys.access_key = row.access;
    keys.secret_key = Secret(std::string(row.secret));
    keys.region = "us-east-1";
    EXPECT_THAT(sign(row.request, keys, row.service).back(),
                testing::EndsWith("Signature=" + std::string(row.signature)));
  }
}

SentItem sent(const std::string& place, const std::string& name) {
  SentItem item;
  item.place = Bytes(place);
  item.name = name;
  item.size_bytes = 7;
  item.proof = Proof::size;
  return item;
}

TEST(TransferJournal, KnowsWhatWasSentAndSurvivesEveryCut) {
  const TempDir dir;
  const auto root = *Root::open(dir.path());
  {
    auto journal = *Journal::open(root, "j", "bundle");
    EXPECT_EQ(journal.find("file:/x", "a"), nullptr);
    ASSERT_TRUE(journal.add(sent("file:/x", "a")));
    ASSERT_TRUE(journal.add(sent("file:/x", "b")));
    EXPECT_NE(journal.find("file:/x", "b"), nullptr);
    const auto second = Journal::open(root, "j", "bundle");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::changed);
  }
  const std::string whole = read(dir / "j");
  const std::size_t first_line = whole.find('\n') + 1;
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    dir.write("j", whole.substr(0, cut));
    auto journal = *Journal::open(root, "j", "bundle");
    EXPECT_EQ(journal.find("file:/x", "a") != nullptr, cut >= first_line) << cut;
    EXPECT_EQ(journal.find("file:/x", "b") != nullptr, cut == whole.size()) << cut;
    ASSERT_TRUE(journal.add(sent("file:/y", "c")));  // after a torn line, too
    EXPECT_EQ(Journal::open(root, "j", "bundle").error().code, Errc::changed);
  }
  auto other = *Journal::open(root, "j", "another bundle");
  EXPECT_EQ(other.find("file:/x", "a"), nullptr);
}

TEST(TransferJournal, TellsVolumesOfAnotherSize) {
  const TempDir dir;
  auto journal = *Journal::open(*Root::open(dir.path()), "j", "bundle");
  ASSERT_TRUE(journal.add(sent("file:/x", "B.ctriage.tar.000")));
  Item volume;
  volume.name = "B.ctriage.tar.000";
  volume.size_bytes = 7;
  EXPECT_EQ(journal.find_other("file:/x", "B.ctriage.tar", {&volume, 1}), nullptr);
  volume.size_bytes = 8;
  EXPECT_NE(journal.find_other("file:/x", "B.ctriage.tar", {&volume, 1}), nullptr);
  EXPECT_EQ(journal.find_other("file:/y", "B.ctriage.tar", {&volume, 1}), nullptr);
}

class LocalFolder : public testing::Test {
 protected:
  std::unique_ptr<Destination> open() {
    auto opened = connect(*parse_url("file:" + dir.path(), false), {}, task);
    return std::get<0>(std::move(opened));
  }
  TempDir dir;
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return sys::realtime(); }};
};

TEST_F(LocalFolder, PutsWholeItemsAndProvesThem) {
  const auto folder = open();
  Item item = to_item({"a", "evidence"});
  EXPECT_EQ(std::get<Proof>(send_item(*folder, item, Proof::reread, {}, task)), Proof::reread);
  EXPECT_EQ(std::get<Proof>(send_item(*folder, item, Proof::size, {}, task)), Proof::size);  // it is there
  EXPECT_EQ(read(dir / "a"), "evidence");
  auto other = folder->put(to_item({"a", "evidencf"}), task);
  EXPECT_EQ(std::get<Refusal>(other).error.code, Errc::mismatch);
  EXPECT_FALSE(std::get<Refusal>(other).can_pass);
  EXPECT_EQ(read(dir / "a"), "evidence");
  EXPECT_EQ(std::get<Refusal>(folder->prove(to_item({"b", "x"}), Proof::size, task)).error.code,
            Errc::not_found);
}

TEST_F(LocalFolder, AHalfItemHasNoFinalName) {
  const auto folder = open();
  Item item = to_item({"a", "evidence"});
  item.sha256.reset();
  item.open = []() -> Result<std::unique_ptr<ByteSource>> { return Error{Errc::io, "the disk died"}; };
  auto refused = folder->put(item, task);
  EXPECT_THAT(std::get<Refusal>(refused).error.what, HasSubstr("the disk died"));
  EXPECT_FALSE(std::filesystem::exists(dir / "a"));
  Item again = to_item({"a", "evidence"});
  EXPECT_EQ(std::get<Proof>(send_item(*folder, again, Proof::reread, {}, task)), Proof::reread);
}

}  // namespace
}  // namespace ctriage::transfer
