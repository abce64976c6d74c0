// Which running programs may be opened: nobody may have to wait for a server.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>

#include "lib/source/live/reach.h"
#include "tests/proc_child.h"

namespace ctriage::source {
namespace {

using ctriage::testing::Board;
using ctriage::testing::Child;
using ctriage::testing::TaskFixture;

TEST(SourceReach, ByTypeOfFileSystem) {
  const struct {
    const char* fstype;
    Reach of_container;
    Reach of_volume;
  } cases[] = {
      {"overlay", Reach::hold, Reach::aside},      {"ext4", Reach::hold, Reach::later},
      {"xfs", Reach::hold, Reach::later},          {"btrfs", Reach::hold, Reach::later},
      {"zfs", Reach::hold, Reach::later},          {"tmpfs", Reach::hold, Reach::hold},
      {"fuse", Reach::never, Reach::never},        {"fuse.sshfs", Reach::never, Reach::never},
      {"fuseblk", Reach::never, Reach::never},     {"fuse.fuse-overlayfs", Reach::never, Reach::never},
      {"nfs4", Reach::aside, Reach::aside},        {"nfs", Reach::aside, Reach::aside},
      {"cifs", Reach::aside, Reach::aside},        {"ceph", Reach::aside, Reach::aside},
      {"9p", Reach::aside, Reach::aside},          {"virtiofs", Reach::aside, Reach::aside},
      {"never-heard", Reach::aside, Reach::aside}, {"", Reach::aside, Reach::aside}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.fstype);
    EXPECT_EQ(reach_of(c.fstype, true), c.of_container);
    EXPECT_EQ(reach_of(c.fstype, false), c.of_volume);
  }
}

TEST(SourceReach, ByMagic) {
  EXPECT_EQ(reach_of_magic(TMPFS_MAGIC), Reach::hold);
  EXPECT_EQ(reach_of_magic(EXT4_SUPER_MAGIC), Reach::hold);
  EXPECT_EQ(reach_of_magic(FUSE_SUPER_MAGIC), Reach::never);
  EXPECT_EQ(reach_of_magic(NFS_SUPER_MAGIC), Reach::aside);
  EXPECT_EQ(reach_of_magic(OVERLAYFS_SUPER_MAGIC), Reach::aside);
  EXPECT_EQ(reach_of_magic(0), Reach::aside);
}

TEST(SourceReach, ServerOnTheWay) {
  LiveContainer live;
  live.root_device = Hex{7};
  const auto add = [&](const char* fstype, const char* mountpoint, std::uint64_t device) {
    Mount mount;
    mount.fstype = Bytes(fstype);
    mount.mountpoint = Bytes(mountpoint);
    mount.device = Hex{device};
    live.mounts.push_back(mount);
  };
  add("overlay", "/", 7);
  add("proc", "/proc", 8);
  add("tmpfs", "/dev", 9);
  add("sysfs", "/sys", 10);
  add("nfs4", "/data", 11);
  add("overlay", "/nested", 12);
  const struct {
    const char* mountpoint;
    const char* server;
  } cases[] = {{"/dev", nullptr}, {"/dev/shm", nullptr}, {"/proc/acpi", nullptr}, {"/sys/fs/cgroup", nullptr},
               {"/data", "nfs4"}, {"/data/x/y", "nfs4"}, {"/database", nullptr},  {"/nested/tmp", "overlay"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.mountpoint);
    const Mount* server = server_on_the_way(live, c.mountpoint);
    EXPECT_EQ(server ? server->fstype.raw : "", c.server ? c.server : "");
  }
  add("fuse.evil", "/", 13);
  EXPECT_NE(server_on_the_way(live, "/dev/shm"), nullptr);
}

class ReachOfPrograms : public ::testing::Test, protected TaskFixture {
 protected:
  void SetUp() override {
    auto proc = Root::open("/proc");
    ASSERT_TRUE(proc);
    auto readers = proc::Readers::start(*proc);
    ASSERT_TRUE(readers);
    const std::int32_t host = proc::node_process(*proc);
    node_.emplace(Node{*std::move(proc), *std::move(readers), {}, host, {}});
    node_->descriptors = 1;
  }
  std::shared_ptr<HeldProgram> program_of(std::int32_t pid) {
    const auto stat = proc::read_stat(node_->proc, pid);
    const auto process = proc::open_process(node_->proc, pid, stat ? stat->start_ticks : 0);
    EXPECT_TRUE(process);
    const auto taken = hold_program(*node_, live_, *process, pid, task);
    EXPECT_TRUE(taken) << taken.error().what;
    return taken ? *taken : nullptr;
  }
  std::optional<Node> node_;
  LiveContainer live_;
};

// In no mount table, so that the reader is asked what it lies on: memory, and so it is held.
TEST_F(ReachOfPrograms, MemfdIsHeld) {
  Board board;
  Child child([&] {
    std::ifstream in("/bin/sleep", std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const int fd = ::memfd_create("x", MFD_CLOEXEC);
    if (::write(fd, bytes.data(), bytes.size()) < 0) ::_exit(1);
    char name[] = "x";
    char seconds[] = "1000";
    char* argv[] = {name, seconds, nullptr};
    char* none[] = {nullptr};
    board[0] = 1;
    ::fexecve(fd, argv, none);
  });
  ASSERT_EQ(board.wait(0), 1);
  const std::string link = std::to_string(child.pid()) + "/exe";
  for (int tries = 0; tries < 5000; ++tries) {
    const auto exe = node_->proc.read_link_beneath(link);
    if (exe && exe->starts_with("/memfd:")) break;
    ::usleep(1000);
  }
  const auto held = program_of(child.pid());
  ASSERT_TRUE(held);
  EXPECT_EQ(held->reach, Reach::hold);
  ASSERT_EQ(live_.detached.size(), 1U);
  auto source = read_program(*node_, held, "x", task);
  ASSERT_TRUE(source) << source.error().what;
  auto bytes = read_all(**source, 16 << 20);
  ASSERT_TRUE(bytes);
  EXPECT_TRUE(
      bytes->starts_with("\x7f"
                         "ELF"));
}

TEST_F(ReachOfPrograms, BytesAreTheSameWhicheverWayTheyAreHad) {
  const auto held = program_of(::getpid());
  ASSERT_TRUE(held);
  std::string first;
  for (const Reach reach : {Reach::aside, Reach::later, Reach::hold}) {
    if (reach != Reach::hold) held->reach = reach;
    for (int pass = 0; pass < 2; ++pass) {
      auto source = read_program(*node_, held, "test", task);
      ASSERT_TRUE(source) << source.error().what;
      auto bytes = read_all(**source, 512 << 20);
      ASSERT_TRUE(bytes) << bytes.error().what;
      if (first.empty()) first = *bytes;
      EXPECT_EQ(bytes->size(), first.size());
      EXPECT_TRUE(*bytes == first);
      EXPECT_EQ(held->reach, reach == Reach::aside ? Reach::aside : Reach::hold);
    }
  }
  held->reach = Reach::never;
  held->lies_on = "fuse.x at /mnt";
  const auto refused = read_program(*node_, held, "/mnt/tool", task);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::outside);
  EXPECT_NE(refused.error().what.find("/mnt/tool: lies on fuse.x at /mnt"), std::string::npos);
}

// One descriptor for all that run a file; without one to spare it is the caller's alone, and read all the
// same.
TEST_F(ReachOfPrograms, DescriptorsAreSharedAndCounted) {
  const auto run = [] {
    ::execl("/bin/sleep", "sleep", "1000", nullptr);
    ::_exit(1);
  };
  Child one(run), two(run);
  for (const std::int32_t pid : {one.pid(), two.pid()}) {
    for (int tries = 0; tries < 5000; ++tries) {
      const auto exe = node_->proc.read_link_beneath(std::to_string(pid) + "/exe");
      if (exe && exe->ends_with("/sleep")) break;
      ::usleep(1000);
    }
  }
  const auto first = program_of(one.pid());
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->crowded);
  EXPECT_EQ(node_->descriptors, 0U);
  EXPECT_EQ(program_of(two.pid()), first);
  const auto other = program_of(::getpid());
  ASSERT_TRUE(other);
  EXPECT_TRUE(other->crowded);
  EXPECT_EQ(other.use_count(), 1);
  EXPECT_TRUE(read_program(*node_, other, "test", task));
}

}  // namespace
}  // namespace ctriage::source
