// A plain tree on a tmpfs of its own, with everything in it that an attacker may put there.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "lib/core/hash.h"
#include "lib/overlay/tree.h"
#include "tests/overlay_lab.h"

namespace ctriage::overlay {
namespace {

using ctriage::testing::Lab;
using ctriage::testing::Recorder;
using ctriage::testing::TaskKit;

class PlainTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Lab::ready()) GTEST_SKIP() << "needs root: makes mounts";
    lab_.emplace();
    lab_->sh("mkdir tree");
  }
  Recorder walk(const std::vector<std::string>& known = {}) {
    auto top = Root::open(lab_->dir() + "/tree");
    EXPECT_TRUE(top);
    top->call("/dev/shm");
    Recorder seen;
    const PlainTree tree{*top, nullptr, "c1", [&](std::string_view path) {
                           return std::ranges::find(known, path) != known.end();
                         }};
    const Status walked = walk_plain(tree, seen, kit_.task);
    EXPECT_TRUE(walked) << walked.error().what;
    return seen;
  }

  std::optional<Lab> lab_;
  TaskKit kit_;
};

TEST_F(PlainTreeTest, OddFiles) {
  lab_->sh(
      "cd tree; printf '#!/bin/sh\\n' > script; printf x > plain; ln plain twice; ln -s /etc/shadow link;"
      "ln -s / up; mkfifo fifo; mknod null c 1 3; mknod white c 0 0; mkdir -p a/b; printf y > a/b/deep;"
      "mkdir opaque; setfattr -n trusted.overlay.opaque -v y opaque; printf z > meta;"
      "setfattr -n trusted.overlay.metacopy meta; truncate -s 1T sparse; printf q >> sparse;"
      "chmod 4755 plain; printf n > $'new\\nline'");
  const Recorder seen = walk();
  std::vector<std::string> paths;
  for (const FileChange& change : seen.changes) {
    paths.push_back(change.path.raw);
    EXPECT_EQ(change.kind, ChangeKind::added) << change.path.raw;
    EXPECT_TRUE(change.after);
    EXPECT_EQ(change.container, "c1");
  }
  EXPECT_EQ(paths, (std::vector<std::string>{"/", "/a", "/a/b", "/a/b/deep", "/fifo", "/link", "/meta",
                                             "/new\nline", "/null", "/opaque", "/plain", "/script", "/sparse",
                                             "/twice", "/up", "/white"}));
  EXPECT_EQ(seen.find("/link")->after->link_target, Bytes("/etc/shadow"));
  EXPECT_EQ(seen.find("/plain")->after->mode, 04755U);
  EXPECT_EQ(seen.find("/plain")->after->sha256, sha256_hex("x"));
  EXPECT_TRUE(seen.find("/plain")->program);
  EXPECT_TRUE(seen.find("/script")->program);
  EXPECT_FALSE(seen.find("/meta")->program);
  EXPECT_EQ(seen.bytes.at("/meta"), "z");  // the mark means nothing here: its bytes are its own
  EXPECT_EQ(seen.bytes.at("/a/b/deep"), "y");
  if (seen.find("/plain")->after->btime) {
    EXPECT_EQ(seen.find("/twice")->hard_link_of, Bytes("/plain"));
    EXPECT_EQ(seen.find("/twice")->after->sha256, sha256_hex("x"));
  }
  EXPECT_EQ(seen.find("/sparse")->after->size_bytes, (std::uint64_t{1} << 40) + 1);
  EXPECT_FALSE(seen.find("/sparse")->after->sha256);
  EXPECT_LT(seen.data_bytes, 1U << 20);
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 0U) << kit_.text();
  EXPECT_EQ(kit_.gaps.count(Impact::note), 1U) << kit_.text();  // the holes of sparse
}

TEST_F(PlainTreeTest, WhatIsMountedBelowIsNotEntered) {
  lab_->sh(
      "cd tree; mkdir known unknown; touch file; mount -t tmpfs x known; mount -t tmpfs x unknown;"
      "touch known/inside unknown/inside; mount --bind /etc/hostname file || mount --bind /etc/passwd file");
  const Recorder seen = walk({"/known"});
  ASSERT_EQ(seen.changes.size(), 1U);
  EXPECT_EQ(seen.changes[0].path, Bytes("/"));
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 2U) << kit_.text();
  EXPECT_EQ(kit_.gaps.total(), 2U) << kit_.text();
  for (const Gap& gap : kit_.gaps.kept()) EXPECT_EQ(gap.artifact, "tree.mount");
  EXPECT_EQ(kit_.gaps.kept()[1].origin, "/dev/shm/unknown");
  lab_->sh("umount tree/known tree/unknown tree/file");
}

TEST_F(PlainTreeTest, TooDeepIsSaid) {
  lab_->sh("cd tree; for i in $(seq 140); do mkdir d; cd d; done; printf x > deepest");
  const Recorder seen = walk();
  EXPECT_EQ(seen.changes.size(), kMaxPlainLevels + 1);
  ASSERT_EQ(kit_.gaps.total(), 1U) << kit_.text();
  EXPECT_TRUE(kit_.has(Impact::lost, "tree.directory", Errc::limit)) << kit_.text();
}

TEST_F(PlainTreeTest, ManyNamesInSeveralBlocks) {
  lab_->sh("cd tree; mkdir many; cd many; seq -f '%0200g' 9000 | xargs touch; mkdir -p zz/below");
  const Recorder seen = walk();
  EXPECT_EQ(seen.changes.size(), 9000U + 4);
  EXPECT_TRUE(std::ranges::is_sorted(seen.changes, {}, [](const FileChange& c) { return c.path.raw; }));
  EXPECT_EQ(kit_.gaps.total(), 0U) << kit_.text();
}

TEST_F(PlainTreeTest, OneFile) {
  lab_->sh("printf abc > tree/file");
  auto top = Root::open(lab_->dir() + "/tree");
  ASSERT_TRUE(top);
  auto pinned = top->pin_beneath("file");
  ASSERT_TRUE(pinned);
  Recorder seen;
  const PlainTree tree{*top, nullptr, "c1", nullptr};
  ASSERT_TRUE(take_plain_file(tree, pinned->get(), "/hosts", seen, kit_.task));
  ASSERT_EQ(seen.changes.size(), 1U);
  EXPECT_EQ(seen.bytes.at("/hosts"), "abc");
  EXPECT_EQ(seen.changes[0].after->sha256, sha256_hex("abc"));
}

// What is left is told with its reason and is in no layer, under none of its names.
TEST_F(PlainTreeTest, Wishes) {
  lab_->sh(
      "cd tree; printf abc > small; printf '#!/bin/sh\\n' > script; printf abcdef > large; ln large twice;"
      "printf abcdef > run; chmod 755 run; mkdir gone hidden; printf x > gone/file; printf x > hidden/file;"
      "ln -s /etc/shadow link; mkfifo fifo; printf abcdef > left; chmod 711 left");
  const auto wish = [](std::string_view path, const FileInfo& info) -> Wish {
    if (path == "/gone") return {Part::outside};
    if (path == "/hidden") return {Part::nothing};
    if (path == "/left") return {Part::state, "left"};
    if (!info.is_regular() || info.size_bytes <= 3) return {};
    return {Part::program, "too large"};
  };
  auto top = Root::open(lab_->dir() + "/tree");
  ASSERT_TRUE(top);
  Recorder seen;
  ASSERT_TRUE(walk_plain(PlainTree{*top, nullptr, "c1", nullptr, wish}, seen, kit_.task));
  EXPECT_EQ(kit_.gaps.total(), 0U) << kit_.text();
  std::vector<std::string> paths;
  for (const FileChange& change : seen.changes) paths.push_back(change.path.raw);
  EXPECT_EQ(paths, (std::vector<std::string>{"/", "/fifo", "/hidden/file", "/large", "/left", "/link", "/run",
                                             "/script", "/small", "/twice"}));
  std::vector<std::string> with_bytes;
  for (const auto& [path, bytes] : seen.bytes) with_bytes.push_back(path);
  EXPECT_EQ(with_bytes, (std::vector<std::string>{"/hidden/file", "/run", "/script", "/small"}));
  for (const char* name : {"/large", "/twice"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(seen.find(name)->partial, "too large");
    EXPECT_FALSE(seen.find(name)->after->sha256);
    EXPECT_FALSE(seen.find(name)->program);
  }
  EXPECT_EQ(seen.find("/left")->partial, "left");
  EXPECT_TRUE(seen.find("/left")->program);
  EXPECT_TRUE(seen.find("/run")->program);
  EXPECT_FALSE(seen.find("/run")->partial);
}

TEST_F(PlainTreeTest, ManyNamesAreALimit) {
  lab_->sh("cd tree; touch a b c d e");
  const struct {
    std::uint64_t most;
    std::size_t seen;  // the top counts by itself
    std::size_t lost;
  } cases[] = {{0, 1, 1}, {4, 5, 1}, {5, 6, 0}, {UINT64_MAX, 6, 0}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.most);
    TaskKit kit;
    auto top = Root::open(lab_->dir() + "/tree");
    ASSERT_TRUE(top);
    Recorder seen;
    ASSERT_TRUE(walk_plain(PlainTree{*top, nullptr, "c1", nullptr, nullptr, c.most}, seen, kit.task));
    EXPECT_EQ(seen.changes.size(), c.seen);
    EXPECT_EQ(kit.gaps.count(Impact::lost), c.lost) << kit.text();
  }
}

TEST_F(PlainTreeTest, RefusedAndStopped) {
  lab_->sh("printf abc > tree/file");
  kit_.stop = true;
  auto top = Root::open(lab_->dir() + "/tree");
  ASSERT_TRUE(top);
  Recorder seen;
  const PlainTree tree{*top, nullptr, "c1", nullptr};
  const Status walked = walk_plain(tree, seen, kit_.task);
  ASSERT_FALSE(walked);
  EXPECT_EQ(walked.error().code, Errc::stopped);
}

}  // namespace
}  // namespace ctriage::overlay
