// A made-up node: what is newer than the pod, and what is not opened.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <map>

#include "lib/core/hash.h"
#include "lib/core/sys.h"
#include "lib/source/live/watched.h"
#include "tests/temp_dir.h"

namespace ctriage::source {
namespace {

namespace fs = std::filesystem;

class WatchedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"etc/cron.d", "etc/ssh", "root/.ssh", "home/eve/.ssh", "usr/lib/systemd/system", "usr/bin"})
      fs::create_directories(dir_ / name);
    fs::create_directory_symlink("usr/lib", dir_ / "lib");
  }
  std::map<std::string, NewerFile> list(Timestamp since) {
    auto root = Root::open(dir_.path());
    EXPECT_TRUE(root);
    std::map<std::string, NewerFile> found;
    options_.since = since;
    const auto places = watched_places(passwd_, "6.1", "/var/lib/kubelet", "/etc/kubernetes/mine");
    const Status listed = list_newer(
        *root, places, options_,
        [&](NewerFile&& file) -> Status {
          EXPECT_TRUE(found.emplace(file.fact.path.raw, std::move(file)).second) << "twice";
          return Done{};
        },
        task_);
    EXPECT_TRUE(listed) << listed.error().what;
    return found;
  }

  TempDir dir_;
  std::string passwd_ = "root:x:0:0:root:/root:/bin/sh\neve:x:1:1::/home/eve:/bin/sh\n";
  NewerOptions options_;
  GapLog gaps_;
  std::atomic<bool> stop_{false};
  Task task_{gaps_, stop_, [] { return Timestamp{}; }};
};

TEST_F(WatchedTest, NewFilesWithTheirBytes) {
  dir_.write("etc/cron.d/evil", "* * * * * root /x\n");
  dir_.write("home/eve/.ssh/authorized_keys", "ssh-ed25519 AAAA\n");
  dir_.write("home/eve/.ssh/id_ed25519", "PRIVATE");
  dir_.write("etc/shadow", "root:secret\n");
  dir_.write("usr/lib/systemd/system/evil.service", "[Service]\n");
  dir_.write("usr/bin/tool", "\177ELF");
  dir_.write("etc/unrelated", "x");
  fs::create_directories(dir_ / "etc/kubernetes/mine");
  dir_.write("etc/kubernetes/mine/pod.yaml", "kind: Pod\n");
  auto found = list(Timestamp{});
  const struct {
    const char* path;
    const char* group;
    std::optional<std::string> bytes;
    const char* content;
  } cases[] = {{"/etc/cron.d/evil", "cron", "* * * * * root /x\n", "* * * * * root /x\n"},
               {"/home/eve/.ssh/authorized_keys", "keys", "ssh-ed25519 AAAA\n", "ssh-ed25519 AAAA\n"},
               {"/home/eve/.ssh/id_ed25519", "keys", std::nullopt, "PRIVATE"},
               {"/etc/shadow", "accounts", std::nullopt, "root:secret\n"},
               {"/usr/lib/systemd/system/evil.service", "units", "[Service]\n", "[Service]\n"},
               {"/usr/bin/tool", "programs", std::nullopt, "\177ELF"},
               {"/etc/kubernetes/mine/pod.yaml", "static_pods", "kind: Pod\n", "kind: Pod\n"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    ASSERT_TRUE(found.contains(c.path));
    const NewerFile& file = found.at(c.path);
    EXPECT_EQ(file.fact.group, c.group);
    EXPECT_EQ(file.bytes, c.bytes);
    EXPECT_EQ(file.fact.file->sha256, sha256_hex(c.content));
    EXPECT_TRUE(file.fact.newer);
  }
  EXPECT_FALSE(found.contains("/etc/unrelated"));
  EXPECT_FALSE(found.contains("/lib/systemd/system/evil.service"));  // the same directory by another name
  EXPECT_EQ(gaps_.total(), 0U);
}

TEST_F(WatchedTest, OldFilesAreNotNamed) {
  dir_.write("etc/cron.d/old", "x");
  ::timespec past[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (dir_ / "etc/cron.d/old").c_str(), past, 0), 0);
  Timestamp now = sys::realtime();
  EXPECT_TRUE(list({now.seconds - 60, 0}).contains("/etc/cron.d/old"));  // an old mtime is easily made
  EXPECT_TRUE(list({now.seconds + 60, 0}).empty());
}

TEST_F(WatchedTest, HostileEntries) {
  ASSERT_EQ(::mkfifo((dir_ / "etc/cron.d/fifo").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("/etc/shadow", (dir_ / "etc/cron.d/link").c_str()), 0);
  ASSERT_EQ(::symlink("/", (dir_ / "root/.ssh/up").c_str()), 0);
  dir_.write("etc/cron.d/large", std::string(100'000, 'x'));
  auto found = list(Timestamp{});
  EXPECT_EQ(found.at("/etc/cron.d/fifo").fact.file->type, FileType::fifo);
  EXPECT_FALSE(found.at("/etc/cron.d/fifo").bytes);
  EXPECT_EQ(found.at("/etc/cron.d/link").fact.file->link_target, Bytes("/etc/shadow"));
  EXPECT_FALSE(found.at("/etc/cron.d/link").bytes);
  EXPECT_TRUE(found.contains("/root/.ssh/up"));
  EXPECT_FALSE(found.at("/etc/cron.d/large").bytes);
  EXPECT_EQ(found.at("/etc/cron.d/large").fact.partial, "too large to be kept");
  EXPECT_TRUE(found.at("/etc/cron.d/large").fact.file->sha256);
}

TEST_F(WatchedTest, LimitsAndServers) {
  for (int i = 0; i < 50; ++i) dir_.write("etc/cron.d/" + std::to_string(i), "x");
  options_.most_entries = 20;
  EXPECT_LE(list(Timestamp{}).size(), 20U);
  EXPECT_EQ(gaps_.count(Impact::lost), 1U);
  options_ = {};
  options_.asks_server = [](std::string_view path) { return path.starts_with("/etc/cron"); };
  auto found = list(Timestamp{});
  EXPECT_FALSE(found.contains("/etc/cron.d"));
  EXPECT_FALSE(found.contains("/etc/cron.d/1"));
  EXPECT_GE(gaps_.count(Impact::degraded), 1U);
}

TEST(Watched, Homes) {
  EXPECT_EQ(parse_homes("root:x:0:0:root:/root:/bin/sh\nx:x:1:1::/home/x/:/bin/sh\nbad\ny:x:1:1:::/bin/sh\n"
                        "z:x:1:1::relative:/bin/sh\nr:x:0:0::/root:/bin/sh\nn:x:1:1::/:/bin/sh"),
            (std::vector<std::string>{"/home/x", "/root"}));
  EXPECT_TRUE(parse_homes("").empty());
}

TEST(Watched, ConfigValue) {
  const struct {
    const char* text;
    const char* value;
  } cases[] = {{"kind: X\nstaticPodPath: /etc/kubernetes/manifests\n", "/etc/kubernetes/manifests"},
               {"staticPodPath: \"/a b\" # x", "/a b"},
               {"{\"kind\":\"X\",\"staticPodPath\":\"/json\",\"z\":1}", "/json"},
               {"# staticPodPath: /no\n", ""},
               {"staticPodPathOther: /no\n", ""},
               {"staticPodPath:", ""},
               {"staticPodPath: \"", ""},
               {"", ""}};
  for (const auto& c : cases) EXPECT_EQ(find_config_value(c.text, "staticPodPath"), c.value) << c.text;
}

}  // namespace
}  // namespace ctriage::source
