// What is held outlives the container; what is not is a gap, never silence.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "lib/core/sys.h"
#include "tests/overlay_lab.h"

namespace ctriage::testing {
namespace {

class OverlayHeld : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Lab::ready()) GTEST_SKIP() << "needs root and a mount namespace";
    lab_ = std::make_unique<Lab>();
    rlimit most{};
    ::getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = std::min<rlim_t>(most.rlim_max, 20'000);
    ::setrlimit(RLIMIT_NOFILE, &most);
  }
  TaskKit kit_;
  std::unique_ptr<Lab> lab_;
};

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

constexpr const char* kTree = R"(
mkdir -p low/img/sub; echo lower > low/img/f; echo x > low/img/sub/x)";
constexpr const char* kTreeChanges = R"(cd merged
mkdir -p a/b/c; echo one > a/one; printf '\177ELF' > a/b/tool; chmod 755 a/b/tool; ln -s /somewhere a/b/c/l; mkfifo a/p; ln a/one a/two
head -c 3000000 /dev/urandom > a/large; setfattr -n user.x -v y a/one; rm -rf img/sub; mkdir img/sub; echo upper > img/f; setfattr -n user.d -v e a/b)";

// Everything but what deleting itself changes on the inode.
std::string without_life(const FileChange& c) {
  std::string text =
      c.path.raw + " " + std::to_string(static_cast<int>(c.kind)) + (c.program ? " program" : "");
  if (c.hard_link_of) text += " = " + c.hard_link_of->raw;
  if (c.partial) text += " partial " + *c.partial;
  for (const auto& d : c.differs) text += " " + d;
  if (!c.after) return text;
  text += " " + std::to_string(c.after->mode) + " " + std::to_string(c.after->size_bytes) + " " +
          std::to_string(c.after->nlink) + " " + c.after->sha256.value_or("-") + " " +
          (c.after->link_target ? c.after->link_target->raw : "") +
          std::to_string(c.after->mtime.nanoseconds) + " " + std::to_string(c.after->ctime.nanoseconds);
  for (const auto& x : c.after->xattrs) text += " " + x.name + "=" + x.value.raw;
  return text;
}

TEST_F(OverlayHeld, DeletedContainerIsComplete) {
  lab_->sh(kTree);
  lab_->mount({"low"});
  lab_->sh(kTreeChanges);
  const auto stack = lab_->stack(kit_);
  const auto alive = take(stack, kit_);
  for (const std::size_t descriptors : {std::size_t{8192}, std::size_t{8}}) {
    SCOPED_TRACE(descriptors);
    auto held = overlay::Held::take(stack, {.descriptors = descriptors}, kit_.task);
    ASSERT_TRUE(held);
    EXPECT_EQ(held->complete(), descriptors == 8192 || held->files() == 5)
        << "links, FIFOs and directories need no descriptor";
    if (descriptors == 8192) {
      lab_->unmount();
      lab_->sh("cp -a upper/fs copy; rm -rf upper/fs");
      Recorder seen;
      ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
      EXPECT_EQ(kit_.gaps.total(), 0U) << kit_.text();
      ASSERT_EQ(seen.changes.size(), alive.changes.size());
      for (std::size_t i = 0; i < seen.changes.size(); ++i) {
        EXPECT_EQ(without_life(seen.changes[i]), without_life(alive.changes[i]));
      }
      EXPECT_EQ(seen.bytes, alive.bytes);
      break;
    }
  }
}

// Directories are removed while the walk is inside them.
TEST_F(OverlayHeld, RemovedWhileWalked) {
  for (const bool hold : {true, false}) {
    SCOPED_TRACE(hold);
    Lab lab;
    lab.sh(kTree);
    lab.mount({"low"});
    lab.sh(kTreeChanges);
    TaskKit kit;
    const auto stack = lab.stack(kit);
    const auto alive = take(stack, kit);
    overlay::Held held;
    if (hold) held = *overlay::Held::take(stack, {}, kit.task);
    Recorder seen;
    seen.on_begin = [&](const FileChange& change) {
      if (change.path.raw == "/a/b") {
        lab.unmount();
        lab.sh("rm -rf upper/fs");
      }
    };
    ASSERT_TRUE(overlay::walk(stack, held, {}, seen, kit.task));
    if (hold) {
      EXPECT_EQ(kit.gaps.total(), 0U) << kit.text();
      ASSERT_EQ(seen.changes.size(), alive.changes.size());
    } else {
      EXPECT_TRUE(kit.has(Impact::lost, "overlay.directory", Errc::vanished)) << kit.text();
      EXPECT_TRUE(kit.has(Impact::lost, "overlay.entry", Errc::vanished)) << kit.text();
      EXPECT_LT(seen.changes.size(), alive.changes.size());
    }
  }
}

TEST_F(OverlayHeld, ChangesAfterTheHold) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh(
      "cd merged; echo 12345 > grows; echo 1234567890 > shrinks; echo first > replaced; echo old > removed; "
      "mkdir dir; echo x > dir/x; echo aaaa > written");
  const auto stack = lab_->stack(kit_);
  auto held = overlay::Held::take(stack, {}, kit_.task);
  ASSERT_TRUE(held && held->complete());
  lab_->sh(
      "cd merged; echo more >> grows; truncate -s 4 shrinks; echo second > t; mv t replaced; rm removed; "
      "echo new > added; echo y > dir/y; "
      "printf bbbb | dd of=written conv=notrunc status=none");
  Recorder seen;
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  EXPECT_EQ(seen.bytes["/grows"], "12345\n");
  EXPECT_EQ(seen.find("/grows")->after->size_bytes, 6U);
  EXPECT_FALSE(seen.find("/grows")->partial);
  EXPECT_EQ(seen.bytes["/shrinks"], std::string("1234") + std::string(7, '\0'));
  EXPECT_TRUE(seen.find("/shrinks")->partial);
  EXPECT_FALSE(seen.find("/shrinks")->after->sha256);
  EXPECT_TRUE(kit_.has(Impact::lost, "overlay.file", Errc::truncated)) << kit_.text();
  EXPECT_TRUE(kit_.has(Impact::note, "overlay.file", Errc::changed)) << kit_.text();
  EXPECT_EQ(seen.bytes["/replaced"], "first\n");
  EXPECT_TRUE(kit_.has(Impact::degraded, "overlay.entry", Errc::changed)) << kit_.text();
  EXPECT_EQ(seen.bytes["/removed"], "old\n");
  EXPECT_EQ(seen.bytes["/added"], "new\n");
  EXPECT_EQ(seen.bytes["/dir/y"], "y\n");
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 1U) << kit_.text();
}

// Too few descriptors: programs first, then small files, the newest first; what is not held and goes is a gap
// each.
TEST_F(OverlayHeld, ProgramsFirst) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh(R"(cd merged; mkdir d; for i in $(seq 100 199); do echo small > d/s$i; done
for i in 1 2 3 4 5; do printf '\177ELF' > d/z$i; chmod 755 d/z$i; head -c 100000 /dev/zero > a$i; done; sleep 0.02; for i in 0 1 2; do echo new > b$i; done)");
  const auto stack = lab_->stack(kit_);
  auto held = overlay::Held::take(stack, {.descriptors = 9}, kit_.task);  // one is the top directory
  ASSERT_TRUE(held);
  EXPECT_EQ(held->files(), 8U);
  EXPECT_FALSE(held->complete());
  lab_->unmount();
  lab_->sh("rm -rf upper/fs");
  Recorder seen;
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  for (const char* path : {"/d/z1", "/d/z2", "/d/z3", "/d/z4", "/d/z5", "/b0", "/b1", "/b2"}) {
    EXPECT_TRUE(seen.bytes.contains(path)) << path;
    EXPECT_FALSE(seen.find(path)->partial) << path;
  }
  // Every name is still listed, with the stat that was held; the bytes of these are a gap each.
  EXPECT_EQ(seen.changes.size(), 2U + 100 + 5 + 5 + 3);
  EXPECT_EQ(seen.find("/d/s100")->partial, "removed before it was read");
  EXPECT_EQ(seen.find("/d/s100")->after->size_bytes, 6U);
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 105U);
}

TEST_F(OverlayHeld, MemoryBudget) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh("cd merged; mkdir d; for i in $(seq 1000 1999); do : > d/s$i; done; : > d/z; chmod 755 d/z");
  const auto stack = lab_->stack(kit_);
  auto held = overlay::Held::take(stack, {.descriptors = 100, .memory_bytes = 64 << 10}, kit_.task);
  ASSERT_TRUE(held);
  EXPECT_FALSE(held->complete());
  Recorder seen;
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  EXPECT_EQ(seen.changes.size(), 2U + 1001) << "each name once, held or not";
  EXPECT_EQ(kit_.gaps.total(), 0U) << kit_.text();
}

std::size_t peak_bytes() {  // of this process since the last reset
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) << 10;
  }
  return 0;
}

// Named in passes: memory does not follow the number of names.
TEST_F(OverlayHeld, ManyNamesInBoundedMemory) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh(R"sh(mkdir upper/fs/many; python3 -c "
import os
d = os.open('upper/fs/many', os.O_RDONLY)
for i in range(200000): os.close(os.open('file-number-%d' % (i * 7919 % 200000), os.O_CREAT | os.O_WRONLY, dir_fd=d))")sh");
  const auto stack = lab_->stack(kit_);
  std::ofstream("/proc/self/clear_refs") << 5;
  [[maybe_unused]] const std::size_t before = peak_bytes();
  auto held = overlay::Held::take(stack, {}, kit_.task);
  ASSERT_TRUE(held);
  Recorder seen;
  seen.keep = false;
  std::size_t names = 0;
  std::string last;
  bool ordered = true;
  seen.on_begin = [&](const FileChange& change) {
    ++names;
    ordered = ordered && last < change.path.raw;
    last = change.path.raw;
  };
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  EXPECT_EQ(names, 2U + 200'000);
  EXPECT_TRUE(ordered);
  EXPECT_EQ(kit_.gaps.total(), 0U) << kit_.text();
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(peak_bytes() - before, 40U << 20);
#endif
}

TEST_F(OverlayHeld, IsQuickAndClosesEverything) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh(
      "cd upper/fs; for d in $(seq 90); do mkdir $d; for f in $(seq 100); do echo $f > $d/$f; done; done");
  const std::size_t before = open_descriptors();
  {
    const auto stack = lab_->stack(kit_);
    const auto start = std::chrono::steady_clock::now();
    auto held = overlay::Held::take(stack, {.descriptors = 10'000}, kit_.task);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(held);
    std::printf("hold of 9,000 files: %.3f s\n", took.count());
#if !defined(__SANITIZE_ADDRESS__)
    EXPECT_LT(took.count(), 5.0) << "0.1 s on a quiet machine with an optimised build";
#endif
    EXPECT_EQ(held->files(), 9'000U);
    EXPECT_TRUE(held->complete());
    Recorder seen;
    ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
    EXPECT_EQ(seen.changes.size(), 9'091U);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(OverlayHeld, StopAndVisitorErrors) {
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh("cd merged; echo a > a; echo b > b");
  const auto stack = lab_->stack(kit_);
  struct Full final : overlay::Visitor {
    int calls_left = 0;
    Status step() { return calls_left-- > 0 ? Status(Done{}) : Status(Error{Errc::full, "disk full"}); }
    Status begin(const FileChange&, std::span<const archive::DataRun>) override { return step(); }
    Status data(std::uint64_t, std::span<const std::byte>) override { return step(); }
    Status end() override { return step(); }
    Status change(FileChange&&) override { return step(); }
  };
  for (int calls = 0; calls < 11; ++calls) {
    Full full;
    full.calls_left = calls;
    const auto walked = overlay::walk(stack, overlay::Held(), {}, full, kit_.task);
    ASSERT_FALSE(walked) << calls;
    EXPECT_EQ(walked.error().code, Errc::full);
  }
  kit_.stop = true;
  Recorder seen;
  const auto walked = overlay::walk(stack, overlay::Held(), {}, seen, kit_.task);
  ASSERT_FALSE(walked);
  EXPECT_EQ(walked.error().code, Errc::stopped);
  EXPECT_FALSE(overlay::Held().complete());
  EXPECT_EQ(overlay::Held().files(), 0U);
}

// Another mount namespace: no clone can be made, open_tree(2) EINVAL. Read in place, and said so.
TEST_F(OverlayHeld, WithoutClone) {
  lab_->sh(kTree);
  lab_->mount({"low"});
  lab_->sh(kTreeChanges);
  const auto whole = take(lab_->stack(kit_), kit_);
  const auto options = lab_->options();
  auto node = Root::open("/");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(2);
    TaskKit kit;
    auto stack = overlay::Stack::open(options, *node, "c1", kit.task);
    if (!stack) ::_exit(3);
    const bool said =
        kit.gaps.count(Impact::degraded) == 1 && kit.gaps.kept()[0].artifact == "overlay.link_times";
    const auto seen = take(*stack, kit);
    ::_exit(!said ? 4 : seen.changes.size() != whole.changes.size() ? 5 : kit.gaps.total() != 1 ? 6 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
}

// Without CAP_SYS_ADMIN trusted.* is invisible: no answer about the image, and a reason.
TEST_F(OverlayHeld, WithoutTrustedXattrs) {
  lab_->sh(kTree);
  lab_->mount({"low"});
  lab_->sh(kTreeChanges);
  const auto options = lab_->options();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(2);
    auto node = Root::open("/");
    TaskKit kit;
    auto stack = overlay::Stack::open(options, *node, "c1", kit.task);
    if (!stack) ::_exit(3);
    Recorder seen;
    (void)overlay::walk(*stack, overlay::Held(), {}, seen, kit.task);
    bool all = seen.changes.size() > 3;
    for (const auto& c : seen.changes)
      all = all && (c.kind == ChangeKind::unknown || c.kind == ChangeKind::deleted);
    ::_exit(!all ? 4 : kit.has(Impact::degraded, "overlay.semantics", Errc::denied) ? 0 : 5);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
}

}  // namespace
}  // namespace ctriage::testing
