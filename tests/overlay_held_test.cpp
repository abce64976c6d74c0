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
  for (const auto& x : c.after->xattrs) text += " " + x.name.raw + "=" + x.value.raw;
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
  EXPECT_EQ(seen.bytes["/replaced"], "first\nsecond\n") << "both, one after the other";
  EXPECT_TRUE(kit_.has(Impact::degraded, "overlay.entry", Errc::changed)) << kit_.text();
  EXPECT_EQ(seen.bytes["/removed"], "old\n");
  EXPECT_EQ(seen.bytes["/added"], "new\n");
  EXPECT_EQ(seen.bytes["/dir/y"], "y\n");
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 1U) << kit_.text();
}

// A kit with a real clock, so that what was made before we began is told from what was made after.
struct Clocked : TaskKit {
  Task timed{gaps, stop, [] { return sys::realtime(); }};
};

// Moved, during the walk, from a directory that is still to come into one that is done.
TEST_F(OverlayHeld, MovedIntoWhatIsDone) {
  struct Case {
    const char* script;
    Impact worst;
    const char* names;  // in the gap
    bool taken;
  };
  for (const Case& c : {
           Case{"mv upper/fs/z/evil upper/fs/a/sub/evil", Impact::lost, "evil", false},
           Case{"mv upper/fs/z/evil upper/fs/a/one", Impact::lost, "one", false},  // over a name that is done
           Case{"mv upper/fs/z/d upper/fs/a/d", Impact::lost, "d", true},
           Case{"mv upper/fs/a/one upper/fs/a/other", Impact::note, "", true},  // its bytes are taken
           Case{"mv upper/fs/z/evil upper/fs/a/sub/evil; mv upper/fs/a/sub upper/fs/a/sub2", Impact::lost,
                "sub2", false},
           Case{"touch upper/fs/a/new; rm upper/fs/a/one", Impact::degraded, "new", true},
           Case{"rm -r upper/fs/a", Impact::note, "", true},
           Case{"echo more >> upper/fs/a/one; chmod 700 upper/fs/a", Impact::note, "", true},
       }) {
    SCOPED_TRACE(c.script);
    Lab lab;
    lab.sh("mkdir low");
    lab.mount({"low"});
    lab.sh(
        "mkdir -p merged/a/sub merged/m merged/z/d; cd merged; echo 1 > a/one; echo 2 > z/evil; echo 3 > "
        "z/d/x");
    Clocked kit;
    const auto stack = lab.stack(kit);
    lab.sh("sleep 0.1");
    Recorder seen;
    seen.on_begin = [&](const FileChange& change) {
      if (change.path.raw == "/m") lab.sh(c.script);
    };
    ASSERT_TRUE(overlay::walk(stack, overlay::Held(), {}, seen, kit.timed));
    EXPECT_EQ(seen.find("/z/evil") != nullptr, c.taken);
    EXPECT_EQ(kit.gaps.count(Impact::lost), c.worst == Impact::lost ? 1U : 0U) << kit.text();
    EXPECT_EQ(kit.gaps.count(Impact::degraded), c.worst == Impact::degraded ? 1U : 0U) << kit.text();
    if (c.worst == Impact::note) continue;
    EXPECT_TRUE(kit.has(c.worst, "overlay.directory", Errc::changed)) << kit.text();
    EXPECT_NE(kit.text().find(std::string("walked: ") + c.names + " "), std::string::npos) << kit.text();
  }
}

// Cut, extended again and its mtime set back: zeros are not the file that was seen.
TEST_F(OverlayHeld, CutAndExtendedAgain) {
  constexpr const char* kEmpty =
      "f=upper/fs/f; touch -r $f ref; : > $f; truncate -s $(cat size) $f; touch -r ref $f";
  for (const char* make :
       {"head -c 100000 /dev/urandom > f", "head -c 50000 /dev/urandom > f; truncate -s 9M f"}) {
    SCOPED_TRACE(make);
    Lab lab;
    lab.sh("mkdir low");
    lab.mount({"low"});
    lab.sh(std::string("cd merged; ") + make + "; stat -c %s f > ../size; ln f g; sleep 0.02");
    TaskKit kit;
    const auto stack = lab.stack(kit);
    auto held = overlay::Held::take(stack, {}, kit.task);
    ASSERT_TRUE(held);
    lab.sh(kEmpty);
    Recorder seen;
    ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit.task));
    for (const char* path : {"/f", "/g"}) {
      EXPECT_FALSE(seen.find(path)->after->sha256) << path;
      EXPECT_TRUE(seen.find(path)->partial) << path;
    }
    EXPECT_TRUE(kit.has(Impact::lost, "overlay.file", Errc::changed)) << kit.text();
    EXPECT_EQ(kit.gaps.count(Impact::lost), 1U) << kit.text();
  }
}

TEST_F(OverlayHeld, SparseFileCutWhileWalked) {  // nothing is left to read, and no read fails
  lab_->sh("mkdir low");
  lab_->mount({"low"});
  lab_->sh("cd merged; truncate -s 9M f; printf tail >> f");
  const auto stack = lab_->stack(kit_);
  auto held = overlay::Held::take(stack, {}, kit_.task);
  ASSERT_TRUE(held);
  lab_->sh("truncate -s 1M upper/fs/f");
  Recorder seen;
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  EXPECT_FALSE(seen.find("/f")->after->sha256);
  EXPECT_TRUE(seen.find("/f")->partial);
  EXPECT_TRUE(kit_.has(Impact::lost, "overlay.file", Errc::truncated)) << kit_.text();
}

// What was held and what lies there now, both whole; links to the first are not links to the second.
TEST_F(OverlayHeld, ReplacedIsTakenTwice) {
  lab_->sh("mkdir low; echo image > low/w");
  lab_->mount({"low"});
  lab_->sh("cd merged; echo first > f; ln f z; mkdir d; echo in > d/x; echo plain > p; echo copied > w");
  const auto stack = lab_->stack(kit_);
  auto held = overlay::Held::take(stack, {}, kit_.task);
  ASSERT_TRUE(held && held->complete());
  lab_->sh(
      "cd merged; echo second > t; mv t f; rm -r d; mkdir d; echo new > d/y; rm p; mkdir p; echo deep > p/q; "
      "rm w");
  Recorder seen;
  ASSERT_TRUE(overlay::walk(stack, *held, {}, seen, kit_.task));
  std::vector<std::string> paths;
  for (const auto& change : seen.changes) paths.push_back(change.path.raw);
  EXPECT_EQ(paths, (std::vector<std::string>{"/", "/d", "/d/x", "/d", "/d/y", "/f", "/f", "/p", "/p", "/p/q",
                                             "/w", "/w", "/z"}));
  EXPECT_EQ(seen.bytes["/f"], "first\nsecond\n");
  EXPECT_EQ(seen.bytes["/z"], "first\n");
  EXPECT_FALSE(seen.changes.back().hard_link_of);
  EXPECT_EQ(seen.changes[10].kind, ChangeKind::content);
  EXPECT_EQ(seen.changes[11].kind, ChangeKind::deleted);
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 0U) << kit_.text();
  EXPECT_EQ(kit_.gaps.count(Impact::degraded), 4U) << kit_.text();
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
    Status data(std::uint64_t, std::span<const std::byte>, const std::shared_ptr<LateSha256>&) override {
      return step();
    }
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
    const bool said = kit.gaps.count(Impact::degraded) == 1 && kit.gaps.kept()[0].artifact == "atime";
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
