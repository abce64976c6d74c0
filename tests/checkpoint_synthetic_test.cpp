// What no real archive has, written here; and what a hostile one may hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <set>

#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint32_t kParent = 1;
constexpr std::uint32_t kLazy = 2;
constexpr std::uint32_t kPresent = 4;

std::string page(std::size_t bytes = 4096) {
  std::string text("made\0up\0", 8);
  text.resize(bytes, 'x');
  return text;
}

struct Seen {
  std::vector<std::string> argv;
  std::uint64_t rss_bytes = 0;
  std::uint64_t lost = 0;
  std::string told;
  bool opened = false;
};

Seen look(const std::map<std::string, std::string>& files) {
  CheckpointTestTask test;
  Seen seen;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  if (snapshot) {
    seen.opened = true;
    const Emit<Container> one = [&](Container&& container) {
      return (*snapshot)->list_processes(
          container.id,
          [&](Process&& process) {
            for (const Bytes& each : process.argv) seen.argv.push_back(each.raw);
            seen.rss_bytes = process.rss_bytes;
            return Status(Done{});
          },
          test.task);
    };
    EXPECT_TRUE((*snapshot)->list_containers(one, test.task));
  }
  seen.lost = test.gaps.count(Impact::lost);
  seen.told = test.told();
  return seen;
}

// pagemap.proto before and since CRIU 4.2; the flags came with 3.5.
TEST(CheckpointPages, CountsOfEveryVersion) {
  const struct {
    const char* name;
    std::function<void(Out&)> count;
  } cases[] = {
      {"field 2, no flags", [](Out& out) { out.add_uint32(2, 1); }},
      {"field 2", [](Out& out) { out.add_uint32(2, 1), out.add_uint32(4, kPresent); }},
      {"field 5, field 2 zero",
       [](Out& out) { out.add_uint32(2, 0), out.add_uint32(4, kPresent), out.add_uint64(5, 1); }},
      {"field 5 first", [](Out& out) { out.add_uint64(5, 1), out.add_uint32(2, 0), out.add_uint32(4, 6); }},
      {"an unknown field", [](Out& out) { out.add_uint64(5, 1), out.add_string(99, "later"); }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto seen = look(make_images(
        "checkpoint/",
        [&](ImageWriter& map) {
          map.entry([&](Out& out) {
            out.add_uint64(1, kArgAddress);
            c.count(out);
          });
        },
        page()));
    EXPECT_THAT(seen.argv, ElementsAre("made", "up"));
    EXPECT_EQ(seen.rss_bytes, 4096U);
    EXPECT_EQ(seen.lost, 0U) << seen.told;
  }
}

TEST(CheckpointPages, PageSizeIsThatOfTheDump) {
  constexpr std::size_t kPage = 64 << 10;
  const auto seen = look(make_images(
      "",
      [](ImageWriter& map) {
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress);
          out.add_uint64(5, 1);
        });
      },
      page(kPage), kPage));
  EXPECT_THAT(seen.argv, ElementsAre("made", "up"));
  EXPECT_EQ(seen.rss_bytes, kPage);
  EXPECT_EQ(seen.lost, 0U) << seen.told;
}

// A wrong count is never a quiet nothing.
TEST(CheckpointPages, WhatDoesNotFitIsLost) {
  const auto entry = [](std::uint64_t address, std::uint64_t pages, std::uint32_t flags) {
    return [=](ImageWriter& map) {
      map.entry([&](Out& out) {
        out.add_uint64(1, address);
        out.add_uint32(4, flags);
        out.add_uint64(5, pages);
      });
    };
  };
  const struct {
    const char* name;
    std::map<std::string, std::string> files;
    const char* told;
  } cases[] = {
      {"no count at all", make_images("", entry(kArgAddress, 0, kPresent), page()), "the page map counts 0"},
      {"one page too many", make_images("", entry(kArgAddress, 2, kPresent), page()),
       "the page map counts 8192"},
      {"half a page", make_images("", entry(kArgAddress, 1, kPresent), page(2048)), "has 2048 bytes"},
      {"no pages file", make_images("", entry(kArgAddress, 1, kPresent), ""), "pages-1.img: not there"},
      {"lazy", make_images("", entry(kArgAddress, 1, kLazy), ""), "left on the other machine"},
      {"parent without a link", make_images("", entry(kArgAddress, 1, kParent), ""),
       "a parent directory that is not named"},
      {"addresses that wrap", make_images("", entry(UINT64_MAX - 4095, 2, kPresent), page()),
       "more pages than there are addresses"},
      {"count of 2^64 - 1", make_images("", entry(0, UINT64_MAX, kPresent), page()),
       "more pages than there are addresses"},
      {"no flag that is known", make_images("", entry(kArgAddress, 1, 16), page()), "neither present"},
      {"over one another",
       make_images(
           "", [&](ImageWriter& map) { entry(0x2000, 2, kPresent)(map), entry(0x1000, 2, kPresent)(map); },
           page()),
       "over the one before"},
      {"compressed, by the entry",
       make_images(
           "",
           [](ImageWriter& map) {
             map.entry([](Out& out) {
               out.add_uint64(1, kArgAddress);
               out.add_uint64(5, 1);
               out.add_string(6, "\x0a\x01\x08");
             });
           },
           page()),
       "compressed pages (LZ4"},
      {"compressed, by the inventory", make_images("", entry(kArgAddress, 1, kPresent), page(), 4096, 3),
       "pages are compressed (LZ4"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto seen = look(c.files);
    EXPECT_TRUE(seen.opened);
    EXPECT_GT(seen.lost, 0U);
    EXPECT_THAT(seen.told, HasSubstr(c.told));
  }
  auto encrypted = make_images("", entry(kArgAddress, 1, kPresent), page());
  encrypted["cipher.img"] = ImageWriter(0x50034653).bytes();
  EXPECT_THAT(look(encrypted).told, HasSubstr("encrypted"));
}

TEST(CheckpointPages, ParentChain) {
  const auto flagged = [](std::uint32_t flags) {
    return [=](ImageWriter& map) {
      map.entry([&](Out& out) {
        out.add_uint64(1, kArgAddress);
        out.add_uint32(2, 1);
        if (flags == kParent) out.add_bool(3, true);
        if (flags != kParent) out.add_uint32(4, flags);
      });
    };
  };
  auto files = make_images("checkpoint/", flagged(kParent), "");
  files.merge(make_images("two/pre-checkpoint/", flagged(kParent), ""));
  files.merge(make_images("one/pre-checkpoint/", flagged(kPresent), page()));
  files["checkpoint/parent -> ../two/pre-checkpoint"] = "";
  files["two/pre-checkpoint/parent -> ../../one/pre-checkpoint"] = "";
  const auto seen = look(files);
  EXPECT_THAT(seen.argv, ElementsAre("made", "up"));
  EXPECT_EQ(seen.lost, 0U) << seen.told;

  auto loop = make_images("checkpoint/", flagged(kParent), "");
  loop["checkpoint/parent -> ../checkpoint"] = "";
  EXPECT_THAT(look(loop).told, HasSubstr("over 64 image directories"));
  auto outside = make_images("checkpoint/", flagged(kParent), "");
  outside["checkpoint/parent -> ../../elsewhere"] = "";
  EXPECT_THAT(look(outside).told, HasSubstr("not in this archive"));
}

TEST(CheckpointLayout, ToldApartByContent) {
  const auto pages = [](ImageWriter& map) {
    map.entry([](Out& out) {
      out.add_uint64(1, kArgAddress);
      out.add_uint64(5, 1);
    });
  };
  const std::string id(64, 'a');
  const std::string spec =
      R"({"process":{"args":["/app/start"]},"annotations":{"io.container.manager":"libpod"}})";
  const std::string config = R"({"id":")" + id + R"(","name":"web"})";
  std::set<std::string> ids;
  const auto describe = [&](const std::map<std::string, std::string>& files) {
    ids.clear();
    CheckpointTestTask test;
    auto snapshot = open_checkpoint(make_tar(files), test.task);
    if (!snapshot) return snapshot.error().what;
    std::string text = (*snapshot)->describe(test.task).value().tool;
    EXPECT_TRUE((*snapshot)->list_containers(
        [&](Container&& container) {
          ids.insert(container.id);
          text += "; " + container.engine + " " + container.name.raw + " " + container.id.substr(0, 12);
          return Status(Done{});
        },
        test.task));
    return text + (test.gaps.count(Impact::lost) > 0 ? "; lost" : "");
  };
  EXPECT_EQ(describe(make_images("", pages, page())),
            "CRIU images, plain tar; unknown checkpoint checkpoint");
  auto podman = make_images("checkpoint/", pages, page());
  podman["spec.dump"] = spec;
  podman["config.dump"] = config;
  EXPECT_EQ(describe(podman), "Podman, CRIU, plain tar; podman web aaaaaaaaaaaa");
  auto containerd = make_images("checkpoint/", pages, page());
  containerd["spec.dump"] = "{}";
  containerd["config.dump"] = config;
  containerd["status"] = R"({"Pid":48211,"StartedAt":1795288123200000000})";
  EXPECT_EQ(describe(containerd), "containerd, CRIU, plain tar; containerd web aaaaaaaaaaaa");
  auto pod = make_images("1-app/checkpoint/", pages, page());
  pod.merge(make_images("2-proxy/checkpoint/", pages, page()));
  pod["1-app/spec.dump"] = pod["2-proxy/spec.dump"] = spec;
  pod["1-app/config.dump"] = pod["2-proxy/config.dump"] = config;  // a forged pair: ids must still differ
  EXPECT_EQ(describe(pod), "Podman, CRIU, plain tar; podman web aaaaaaaaaaaa; podman web aaaaaaaaaaaa");
  EXPECT_EQ(ids.size(), 2U);
  auto docker = make_images(id + "/checkpoints/cp1/", pages, page());
  docker[id + "/config.v2.json"] = R"({"ID":")" + id + R"(","Name":"/web"})";
  EXPECT_EQ(describe(docker), "Docker, CRIU, plain tar; docker web aaaaaaaaaaaa");
  EXPECT_EQ(describe({{"spec.dump", spec}, {"config.dump", config}}),
            "Podman, CRIU, plain tar; podman web aaaaaaaaaaaa; lost");
  EXPECT_THAT(describe({{"a", "b"}}), HasSubstr("no checkpoint in it"));
}

// Podman leaves out the tar of changes where files were only deleted.
TEST(CheckpointLayout, DeletionsWithoutATarOfChanges) {
  auto files = make_images(
      "checkpoint/", [](ImageWriter&) {}, "");
  files["spec.dump"] = R"({"annotations":{"io.container.manager":"libpod"}})";
  files["config.dump"] = R"({"id":")" + std::string(64, 'a') + R"("})";
  files["deleted.files"] = R"(["/etc/motd","/var/log/auth.log"])";
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  EXPECT_EQ((*snapshot)->covers(Facet::changes).level, Coverage::Level::part);
  std::vector<std::string> deleted;
  EXPECT_TRUE((*snapshot)->list_changes(
      std::string(64, 'a'),
      [&](FileChange&& change) {
        EXPECT_EQ(change.kind, ChangeKind::deleted);
        deleted.push_back(change.path.raw);
        return Status(Done{});
      },
      test.task));
  EXPECT_THAT(deleted, testing::ElementsAre("/etc/motd", "/var/log/auth.log"));
}

TEST(CheckpointLayout, NamesThatLeadOutAreGaps) {
  const auto pages = [](ImageWriter&) {};
  auto files = make_images("checkpoint/", pages, "");
  files["../spec.dump"] = "{}";
  files["checkpoint/../../config.dump"] = "{}";
  const auto seen = look(files);
  EXPECT_TRUE(seen.opened);
  EXPECT_THAT(seen.told, HasSubstr("!../spec.dump: a name that leads out"));
  EXPECT_THAT(seen.told, HasSubstr("!checkpoint/../../config.dump: a name that leads out"));
  EXPECT_EQ(plain_member_name("../checkpoint/spec.dump"), std::nullopt);
  EXPECT_EQ(plain_member_name("/etc/passwd"), "etc/passwd");
  EXPECT_EQ(plain_member_name("./a//b/"), "a/b");
  EXPECT_EQ(plain_member_name("./"), std::nullopt);
}

// Everything that can be listed; it ends with a result or a gap.
void list_all(const std::string& archive) {
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(archive, test.task);
  if (!snapshot) return;
  Snapshot& all = **snapshot;
  const auto any = [](auto&&) { return Status(Done{}); };
  (void)all
      .list_containers(
          [&](Container&& container) {
            const std::string& id = container.id;
            (void)all.list_processes(id, any, test.task).has_value();
            (void)all.list_mappings(id, any, test.task).has_value();
            (void)all.list_descriptors(id, any, test.task).has_value();
            (void)all.list_changes(id, any, test.task).has_value();
            (void)all.list_logs(id, any, test.task).has_value();
            return Status(Done{});
          },
          test.task)
      .has_value();
}

std::string small_archive() {
  std::ifstream in(CTRIAGE_TESTDATA "/checkpoint/podman-rootfsdiff-gap.tar.zst", std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(in), {}};
  CheckpointTestTask test;
  MemoryBytes bytes(packed);
  auto unpacked = archive::decompress(bytes, archive::Compression::zstd, test.task);
  std::string tar(1 << 20, '\0');
  tar.resize(unpacked.value()->read_at(0, std::as_writable_bytes(std::span(tar))).value());
  return tar;
}

TEST(HostileCheckpoint, EveryPrefixAndManyMutationsEnd) {
  const std::string whole = small_archive();
  ASSERT_GT(whole.size(), 200'000U);
  CheckpointTestTask test;
  ASSERT_TRUE(open_checkpoint(whole, test.task));
  EXPECT_EQ(test.gaps.count(Impact::lost), 0U) << test.told();
  for (std::size_t size = 0; size < whole.size(); size += 509) list_all(whole.substr(0, size));
  std::mt19937 random(1);  // NOLINT: the same bytes in every run
  for (int i = 0; i < 1'500; ++i) {
    std::string changed = whole;
    changed[random() % changed.size()] = static_cast<char>(random());
    list_all(changed);
  }
}

}  // namespace
}  // namespace ctriage::source
