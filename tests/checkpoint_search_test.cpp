// Memory of real archives, walked through in one pass: the bytes and the hits that CRIU's own decoder has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/core/hash.h"
#include "lib/model/json.h"
#include "lib/search/scanner.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using nlohmann::json;
using search::Scanner;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kData = CTRIAGE_TESTDATA "/checkpoint/";

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Found {
  std::vector<MemoryMatch> matches;
  std::uint64_t searched = 0;
};

Found find(CheckpointSnapshot& snapshot, const std::vector<std::string>& typed, Task& task,
           std::int32_t pid = 0) {
  search::Patterns patterns({});
  for (const std::string& each : typed) EXPECT_TRUE(patterns.add(each));
  Found found;
  Scanner scanner(
      patterns.all(), {},
      [&](MemoryMatch&& match) -> Status {
        found.matches.push_back(std::move(match));
        return Done{};
      },
      task);
  MemoryQuery query;
  query.pid = pid;
  const auto walked = snapshot.visit_memory(query, scanner, task);
  EXPECT_TRUE(walked) << walked.error().what;
  EXPECT_TRUE(scanner.finish());
  found.searched = scanner.searched_bytes();
  return found;
}

// Digest and size of the pages of each process.
struct Hashing final : MemoryVisitor {
  Status enter(MemoryArea&& area) override {
    of = area.kind == AreaKind::memory ? area.pid : 0;
    return Done{};
  }
  std::span<std::byte> room() override { return buffer; }
  Status filled(std::uint64_t, std::size_t count) override {
    if (of == 0) return Done{};
    hashes[of].update(std::span(buffer).first(count));
    sizes[of] += count;
    return Done{};
  }
  std::vector<std::byte> buffer = std::vector<std::byte>(10'000);
  std::int32_t of = 0;
  std::map<std::int32_t, Sha256> hashes;
  std::map<std::int32_t, std::uint64_t> sizes;
};

struct Case {
  const char* archive;
  const char* facts;
  bool same_checkpoint;  // else another one of the same container: addresses and digests are of that
};
class CheckpointSearch : public testing::TestWithParam<Case> {};

TEST_P(CheckpointSearch, SameAsCritSays) {
  const json facts = json::parse(slurp(kData + GetParam().facts));
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(slurp(kData + GetParam().archive), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  std::vector<std::string> markers;
  for (const auto& [marker, hits] : facts["processes"][0]["hits"].items()) markers.push_back(marker);
  const Found found = find(**snapshot, markers, test.task);
  EXPECT_EQ(test.gaps.count(Impact::lost), 0U) << test.told();
  for (const json& fact : facts["processes"]) {
    for (const auto& [marker, hits] : fact["hits"].items()) {
      SCOPED_TRACE(testing::Message() << "pid " << fact["pid"] << " " << marker);
      std::vector<std::uint64_t> addresses;
      for (const MemoryMatch& match : found.matches) {
        if (match.kind == AreaKind::memory && match.pid == fact["pid"].get<std::int32_t>() &&
            match.pattern.raw == marker)
          addresses.push_back(match.address->value);
      }
      EXPECT_TRUE(std::ranges::is_sorted(addresses));
      if (GetParam().same_checkpoint) {
        EXPECT_EQ(addresses.size(), hits["count"]);
      }
      EXPECT_EQ(addresses.empty(), hits["count"] == 0);
      if (addresses.empty() || !GetParam().same_checkpoint) continue;
      EXPECT_EQ(JsonWriter::hex_text(Hex{addresses.front()}), hits["first"]);
    }
  }
  if (!GetParam().same_checkpoint) return;
  Hashing hashing;
  ASSERT_TRUE((*snapshot)->visit_memory({}, hashing, test.task));
  for (const json& fact : facts["processes"]) {
    SCOPED_TRACE(fact["pid"]);
    EXPECT_EQ(hashing.sizes[fact["pid"]], fact["private_bytes"]);
    EXPECT_EQ(to_hex(hashing.hashes[fact["pid"]].digest()), fact["memory_sha256"]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CheckpointSearch,
                         testing::Values(Case{"victim-criu41-style.tar.zst",
                                              "victim-podman.tar.zst.facts.json", true},
                                         Case{"crio.tar.xz", "victim-podman.tar.zst.facts.json", false},
                                         Case{"shell-podman.tar.gz", "shell-podman.tar.gz.facts.json", true}),
                         [](const auto& made) { return test_name_of(made.param.archive); });

// What lab/implant.c leaves: in a memfd, a pipe, a unix socket, a TCP queue, a deleted file.
TEST(CheckpointSearchBeside, WhatIsNotPrivateMemory) {
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(slurp(kData + "crio.tar.xz"), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  const Found found = find(**snapshot, {"re:[A-Za-z-]{4,}[ -~]*"}, test.task);
  std::map<AreaKind, std::string> texts;
  std::map<AreaKind, std::string> paths;
  for (const MemoryMatch& match : found.matches) {
    texts[match.kind] += match.bytes.raw + "\n";
    paths[match.kind] += match.path.raw + "\n";
    if (match.kind != AreaKind::memory) {
      EXPECT_TRUE(match.offset_bytes) << match.path.raw;
    }
  }
  for (const auto& [kind, text] : texts) {
    if (kind != AreaKind::memory && kind != AreaKind::ghost && kind != AreaKind::layer)
      RecordProperty(std::string(to_text(kind)), text.substr(0, 500));
  }
  EXPECT_THAT(paths[AreaKind::ghost], HasSubstr("/tmp/.deleted-log (deleted)"));
  EXPECT_THAT(paths[AreaKind::queue], HasSubstr("tcp 127.0.0.1:4444 - 127.0.0.1:"));
  EXPECT_THAT(paths[AreaKind::queue], HasSubstr(", received and not read\n"));
  EXPECT_THAT(paths[AreaKind::queue], HasSubstr("unix socket:[178338] - socket:[178337], packet 1\n"));
  EXPECT_THAT(paths[AreaKind::pipe], HasSubstr("pipe:[178336]\n"));
}

std::map<std::string, std::string> images_with(const std::string& pages) {
  return make_images(
      "checkpoint/",
      [](ImageWriter& map) {
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress);
          out.add_uint32(4, 4);
          out.add_uint64(5, 2);
        });
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress + 2 * 4096);
          out.add_uint32(4, 4);
          out.add_uint64(5, 1);
        });
        map.entry([](Out& out) {  // behind a hole
          out.add_uint64(1, kArgAddress + 4 * 4096);
          out.add_uint32(4, 4);
          out.add_uint64(5, 1);
        });
      },
      pages);
}

TEST(CheckpointSearchBeside, JoinsOfPageMapEntriesAndSharedMemory) {
  std::string pages(4 * 4096, '\0');
  pages.replace(0, 8, std::string("made\0up\0", 8));
  pages.replace(2 * 4096 - 3, 6, "marker");  // over two entries that are side by side
  pages.replace(3 * 4096 - 3, 6, "marker");  // over a hole
  auto files = images_with(pages);
  ImageWriter map(0x56084025);
  map.entry([](Out& out) { out.add_uint32(1, 2); });
  map.entry([](Out& out) {
    out.add_uint64(1, 4096);
    out.add_uint32(4, 4);
    out.add_uint64(5, 1);
  });
  files["checkpoint/pagemap-shmem-9.img"] = map.bytes();
  files["checkpoint/pages-2.img"] = std::string(100, '.') + "marker" + std::string(4096 - 106, '.');
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  const Found found = find(**snapshot, {"marker"}, test.task);
  EXPECT_EQ(test.gaps.count(Impact::lost), 0U) << test.told();
  ASSERT_EQ(found.matches.size(), 2U);
  EXPECT_EQ(found.matches[0].address->value, kArgAddress + 2 * 4096 - 3);
  EXPECT_EQ(found.matches[0].protection, "rw-p");
  EXPECT_EQ(found.matches[1].kind, AreaKind::shared);
  EXPECT_EQ(found.matches[1].offset_bytes, 4096 + 100U);
  EXPECT_FALSE(found.matches[1].address) << "no process maps it";
  EXPECT_EQ(found.searched, 5 * 4096U);
  EXPECT_EQ(find(**snapshot, {"marker"}, test.task, 7).matches.size(), 1U);
}

TEST(CheckpointSearchBeside, PagesThatAreMissingAreLost) {
  auto files = images_with(std::string(3 * 4096, 'x'));  // a page short
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  const Found found = find(**snapshot, {"marker"}, test.task);
  EXPECT_THAT(found.matches, IsEmpty());
  EXPECT_GT(test.gaps.count(Impact::lost), 0U);
  EXPECT_THAT(test.told(), HasSubstr("checkpoint.pages"));
}

TEST(CheckpointSearchBeside, FilesOfTheLayerAreNamed) {
  auto files = images_with(std::string(4 * 4096, '\0'));
  files["rootfs-diff.tar"] = make_tar({{"tmp/a", "nothing"}, {"tmp/b", std::string(9'000, '.') + "marker"}});
  files["config.dump"] = R"({"id":")" + std::string(64, 'a') + R"("})";
  files["spec.dump"] = R"({"annotations":{"io.container.manager":"libpod"}})";
  files["ctr.log"] = "a line with a marker\n";
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  std::vector<std::string> places;
  for (const MemoryMatch& match : find(**snapshot, {"marker"}, test.task).matches)
    places.push_back(std::string(to_text(match.kind)) + " " + match.path.raw + " " +
                     std::to_string(*match.offset_bytes));
  EXPECT_THAT(places, ElementsAre("log ctr.log 14", "layer /tmp/b 9000"));
}

}  // namespace
}  // namespace ctriage::source
