// find_members against containers made of bare namespaces and cgroups.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <set>

#include "lib/core/root.h"
#include "lib/proc/proc.h"
#include "tests/proc_child.h"

namespace ctriage::proc {
namespace {

using ctriage::testing::Board;
using ctriage::testing::Child;
using ctriage::testing::spawn;
using ctriage::testing::TaskFixture;

// 64 digits as an engine gives them, of this process and this call alone: other runs of this test on the
// machine make their cgroups beside ours.
std::string new_id() {
  static int calls = 0;
  std::string id = "8f6a0c1d2e3b4a5968778695a4b3c2d1e0f0123456789abc";
  char own[17];
  std::snprintf(own, sizeof own, "%08x%08x", static_cast<unsigned>(::getpid()),
                static_cast<unsigned>(++calls));
  return id + own;
}

// A directory of the pids hierarchy, or of cgroup v2, that is removed again.
class Cgroup {
 public:
  explicit Cgroup(const std::string& name) {
    for (const std::string top : {"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/"}) {
      if (::access((top + "cgroup.procs").c_str(), W_OK) != 0) continue;
      path_ = top + name;
      if (::mkdir(path_.c_str(), 0755) != 0) path_.clear();
      break;
    }
  }
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  ~Cgroup() {
    // Its members were killed and end when they get a processor.
    for (int tries = 0; ok() && ::rmdir(path_.c_str()) != 0 && tries < 30'000; ++tries) ::usleep(1000);
  }
  [[nodiscard]] bool ok() const { return !path_.empty(); }
  bool add(std::int32_t pid) const {
    return static_cast<bool>(std::ofstream(path_ + "/cgroup.procs") << pid << std::flush);
  }
  void join() const {
    if (!add(::getpid())) ::_exit(1);
  }

 private:
  std::string path_;
};

class ProcMembers : public ::testing::Test, protected TaskFixture {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs CAP_SYS_ADMIN to make namespaces";
    auto root = Root::open("/proc");
    ASSERT_TRUE(root);
    proc_.emplace(*std::move(root));
  }

  std::map<std::int32_t, Membership> members_of(std::int32_t init, std::int32_t shim) {
    std::map<std::int32_t, Membership> found;
    auto members = find_members(*proc_, init, shim, task);
    EXPECT_TRUE(members) << members.error().what;
    if (!members) return found;
    EXPECT_TRUE(std::ranges::is_sorted(*members, {}, &Member::pid));
    for (const Member& member : *members) {
      found.emplace(member.pid, member.membership);
      auto stat = read_stat(*proc_, member.pid);
      EXPECT_TRUE(stat && stat->start_ticks == member.start_ticks);
    }
    for (const Gap& gap : gaps.kept()) {  // others on this machine may be hidden from us: none of ours is
      for (const auto& [pid, membership] : found) {
        EXPECT_EQ(gap.error.what.find(" " + std::to_string(pid) + "/"), std::string::npos) << gap.error.what;
        EXPECT_NE(gap.origin, "pid " + std::to_string(pid)) << gap.error.what;
      }
    }
    return found;
  }

  // With the other containers of the node known.
  std::set<std::int32_t> ids_of(std::int32_t init, std::int32_t shim, const std::set<std::int32_t>& others) {
    std::set<std::int32_t> found;
    auto members = find_members(*proc_, init, shim, task, &others);
    EXPECT_TRUE(members) << members.error().what;
    if (!members) return found;
    for (const Member& member : *members) found.insert(member.pid);
    return found;
  }

  std::optional<Root> proc_;
};

std::int32_t
own_node_pid() {  // in a pid namespace below ours getpid() is another number; /proc is still the node's
  char text[32] = {};
  const ssize_t size = ::readlink("/proc/self", text, sizeof text - 1);
  return size > 0 ? std::atoi(text) : 0;
}

void join_namespace(std::int32_t pid, const char* type) {
  const int fd = ::open(("/proc/" + std::to_string(pid) + "/ns/" + type).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ::setns(fd, 0) != 0) ::_exit(1);
  ::close(fd);
}

void own_mounts() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    ::_exit(1);
}

enum Slot : std::size_t {
  kInit,
  kShim,
  kChild,
  kNested,
  kNestedChild,
  kExec,
  kExecChild,
  kEntered,
  kMountOnly,
  kStranger,
  kEscaped,
  kReady
};

// shim ── init (1 in its pid namespace, own mounts) ── child
//      │                                            └─ one with a pid namespace below ── its child
//      └─ started by exec: joins the mounts ── its child
void run_shim(Board& board, const std::function<void()>& on_start) {
  board[kShim] = ::getpid();
  if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
  spawn([&] {
    on_start();
    own_mounts();
    board[kInit] = own_node_pid();
    spawn([&] { board[kChild] = own_node_pid(); });
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
    spawn([&] {
      board[kNested] = own_node_pid();
      spawn([&] { board[kNestedChild] = own_node_pid(); });
    });
  });
  spawn([&] {
    on_start();
    join_namespace(board.wait(kInit), "mnt");
    ::setsid();
    board[kExec] = own_node_pid();
    spawn([&] { board[kExecChild] = own_node_pid(); });
  });
}

TEST_F(ProcMembers, NamespacesWithoutCgroup) {
  Board board;
  Child shim([&] { run_shim(board, [] {}); });
  const std::int32_t init = board.wait(kInit);
  ASSERT_GT(init, 1);
  Child entered([&] {  // nsenter -t INIT -m -p from the node
    join_namespace(init, "pid");
    join_namespace(init, "mnt");
    spawn([&] { board[kEntered] = own_node_pid(); });
  });
  Child mounts_only([&] {  // nsenter -t INIT -m
    join_namespace(init, "mnt");
    board[kMountOnly] = ::getpid();
  });
  Child stranger([&] {  // a container of its own
    own_mounts();
    board[kStranger] = ::getpid();
  });
  for (const Slot slot :
       {kChild, kNested, kNestedChild, kExec, kExecChild, kEntered, kMountOnly, kStranger}) {
    ASSERT_GT(board.wait(slot), 1) << slot;
  }
  EXPECT_EQ(members_of(init, board[kShim]),
            (std::map<std::int32_t, Membership>{
                {init, Membership::init},
                {board[kChild], Membership::child},
                {board[kNested], Membership::child},
                {board[kNestedChild], Membership::child},
                {board[kExec], Membership::executed_in},
                {board[kExecChild], Membership::child},
                {board[kEntered], Membership::entered},
                {entered.pid(), Membership::entered},  // nsenter itself: in the mounts
                {board[kMountOnly], Membership::entered}}));
  // Nobody told us the shim: what it started cannot be told from what entered.
  auto unknown = members_of(init, 0);
  EXPECT_EQ(unknown[board[kExec]], Membership::entered);
  EXPECT_EQ(unknown[board[kChild]], Membership::child);
}

TEST_F(ProcMembers, CgroupWithContainerId) {
  Cgroup ours("docker-" + new_id() + ".scope");
  Cgroup other("docker-" + new_id() + ".scope");
  ASSERT_TRUE(ours.ok() && other.ok()) << "no cgroup hierarchy to write to";
  Board board;
  Child shim([&] { run_shim(board, [&] { ours.join(); }); });
  const std::int32_t init = board.wait(kInit);
  ASSERT_GT(init, 1);
  Child escaped([&] {  // of the container's cgroup, but in the node's mounts
    ours.join();
    board[kEscaped] = ::getpid();
  });
  Child entered([&] {
    join_namespace(init, "mnt");
    board[kEntered] = ::getpid();
  });
  Child stranger([&] {  // shares the pid namespace as containers of a pod can, but is another container
    other.join();
    own_mounts();
    join_namespace(init, "pid");
    spawn([&] { board[kStranger] = own_node_pid(); });
  });
  Child own_mount_member([&] {  // unshared its mounts once more; still of the cgroup
    ours.join();
    own_mounts();
    board[kMountOnly] = ::getpid();
  });
  for (const Slot slot :
       {kChild, kNested, kNestedChild, kExec, kExecChild, kEntered, kMountOnly, kStranger, kEscaped}) {
    ASSERT_GT(board.wait(slot), 1) << slot;
  }
  EXPECT_EQ(members_of(init, board[kShim]),
            (std::map<std::int32_t, Membership>{{init, Membership::init},
                                                {board[kChild], Membership::child},
                                                {board[kNested], Membership::child},
                                                {board[kNestedChild], Membership::child},
                                                {board[kExec], Membership::executed_in},
                                                {board[kExecChild], Membership::child},
                                                {board[kEntered], Membership::entered},
                                                {board[kMountOnly], Membership::child},
                                                {board[kEscaped], Membership::escaped}}));
}

// Who may make cgroups can give his own the name of a container.
TEST_F(ProcMembers, ACgroupsNameHidesNobody) {
  Cgroup ours("docker-" + new_id() + ".scope");
  Cgroup fake("docker-" + new_id() + ".scope");
  ASSERT_TRUE(ours.ok() && fake.ok()) << "no cgroup hierarchy to write to";
  Board board;
  Child shim([&] {
    board[kShim] = ::getpid();
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
    spawn([&] {
      ours.join();
      own_mounts();
      board[kInit] = own_node_pid();
      spawn([&] {
        fake.join();
        own_mounts();
        board[kChild] = own_node_pid();
      });
    });
    spawn([&] {  // as kubectl exec starts it: no descendant of init
      board.wait(kInit);
      fake.join();
      own_mounts();
      board[kExec] = own_node_pid();
    });
  });
  ASSERT_GT(board.wait(kInit), 1);
  ASSERT_GT(board.wait(kChild), 1);
  ASSERT_GT(board.wait(kExec), 1);
  // The other containers unknown: the name counts for who is no descendant.
  auto members = members_of(board[kInit], board[kShim]);
  EXPECT_TRUE(members.contains(board[kChild]));
  EXPECT_FALSE(members.contains(board[kExec]));
  // Known, and none has that name here: it counts for nobody.
  const std::set<std::int32_t> none;
  EXPECT_EQ(ids_of(board[kInit], board[kShim], none),
            (std::set<std::int32_t>{board[kInit], board[kChild], board[kExec]}));
  // One of them really is that container's first process.
  const std::set<std::int32_t> exec{board[kExec]};
  EXPECT_EQ(ids_of(board[kInit], board[kShim], exec), (std::set<std::int32_t>{board[kInit]}));
}

TEST_F(ProcMembers, WhoKeepsMovingIsMetOrMissedWithAGap) {
  for (const int pause_us : {0, 300, 3000}) {
    SCOPED_TRACE(pause_us);
    Board board;
    Child shim([&] {
      if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
      spawn([&] {
        own_mounts();
        ::signal(SIGCHLD, SIG_IGN);
        board[kInit] = own_node_pid();
        if (::fork() != 0) return;
        ::prctl(PR_SET_NAME, "hopper");
        board[kReady] = 1;
        for (;;) {
          if (::fork() > 0) ::_exit(0);
          if (pause_us > 0) ::usleep(static_cast<useconds_t>(pause_us));
        }
      });
    });
    ASSERT_EQ(board.wait(kReady), 1);
    for (int again = 0; again < 5; ++again) {
      GapLog own;
      Task own_task{own, stop, [] { return sys::realtime(); }};
      auto members = find_members(*proc_, board[kInit], shim.pid(), own_task);
      ASSERT_TRUE(members) << members.error().what;
      const bool told = std::ranges::any_of(own.kept(), [](const Gap& gap) {
        return gap.error.code == Errc::vanished && gap.impact == Impact::lost;
      });
      EXPECT_TRUE(members->size() > 1 || told);
    }
  }
}

// What the node forks is no gap of a container at rest.
TEST_F(ProcMembers, ForksElsewhereAreNoGap) {
  Board board;
  Child init([&] {
    own_mounts();
    board[kInit] = ::getpid();
  });
  ASSERT_GT(board.wait(kInit), 1);
  Child busy([&] {
    ::signal(SIGCHLD, SIG_IGN);
    for (;;) {
      if (::fork() == 0) ::_exit(0);
    }
  });
  for (int again = 0; again < 10; ++again) {
    EXPECT_EQ(members_of(init.pid(), 0).size(), 1U);
  }
  for (const Gap& gap : gaps.kept()) EXPECT_NE(gap.error.code, Errc::vanished) << gap.error.what;
}

TEST_F(ProcMembers, NodesPidNamespaceMakesNobodyAMember) {  // hostPID: true
  Cgroup ours("docker-" + new_id() + ".scope");
  ASSERT_TRUE(ours.ok());
  Board board;
  Child shim([&] {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    spawn([&] {
      ours.join();
      own_mounts();
      ::setsid();
      board[kInit] = ::getpid();
      spawn([&] {
        spawn([&] {  // its parent ends: an orphan that the shim adopts
          ::prctl(PR_SET_PDEATHSIG, 0);
          const std::int32_t parent = ::getppid();
          board[kReady] = 1;
          while (::getppid() == parent) ::usleep(1000);
          ::prctl(PR_SET_PDEATHSIG, SIGKILL);
          board[kChild] = ::getpid();
        });
        board.wait(kReady);
        ::_exit(0);
      });
    });
    spawn([&] {
      ours.join();
      join_namespace(board.wait(kInit), "mnt");
      ::setsid();
      board[kExec] = ::getpid();
    });
  });
  const std::int32_t init = board.wait(kInit);
  ASSERT_GT(init, 1);
  ASSERT_GT(board.wait(kChild), 1);
  ASSERT_GT(board.wait(kExec), 1);
  auto members = members_of(init, shim.pid());
  EXPECT_EQ(members.erase(init), 1U);
  EXPECT_EQ(members[board[kChild]], Membership::child);
  EXPECT_EQ(members[board[kExec]], Membership::executed_in);
  EXPECT_FALSE(members.contains(::getpid()));
  EXPECT_FALSE(members.contains(1));
  EXPECT_LE(members.size(), 3U);  // and perhaps the zombie between init and the orphan
}

TEST_F(ProcMembers, CgroupWithoutIdCountsUnlessShared) {
  Cgroup own("ctriage-test-plain-" + std::to_string(::getpid()));
  ASSERT_TRUE(own.ok());
  Board board;
  Child init([&] {
    own.join();
    own_mounts();
    board[kInit] = ::getpid();
    spawn([&] {
      own_mounts();  // not init's mounts: only the cgroup says that it belongs
      board[kChild] = ::getpid();
    });
  });
  ASSERT_GT(board.wait(kChild), 1);
  EXPECT_EQ(members_of(init.pid(), 0),
            (std::map<std::int32_t, Membership>{{init.pid(), Membership::init},
                                                {board[kChild], Membership::child}}));
  // Started from a shell in the same cgroup: it then says nothing, and the shell's other children are not
  // members.
  Child shell([&] {
    own.join();
    spawn([&] {
      own_mounts();
      board[kExec] = ::getpid();
    });
    spawn([&] { board[kStranger] = ::getpid(); });
  });
  ASSERT_GT(board.wait(kExec), 1);
  ASSERT_GT(board.wait(kStranger), 1);
  EXPECT_EQ(members_of(board[kExec], 0),
            (std::map<std::int32_t, Membership>{{board[kExec], Membership::init}}));
}

TEST_F(ProcMembers, ProcessOfTheNodeIsAlone) {
  Child child([] { spawn([] {}); });
  EXPECT_EQ(members_of(child.pid(), 0),
            (std::map<std::int32_t, Membership>{{child.pid(), Membership::alone}}));
  const std::int32_t pid = child.pid();
  child.end();
  auto gone = find_members(*proc_, pid, 0, task);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::vanished);
}

TEST_F(ProcMembers, SevenHundredProcesses) {
  std::vector<pid_t> crowd(600, 0);
  char sleep[] = "sleep";
  char seconds[] = "60";
  char* argv[] = {sleep, seconds, nullptr};
  for (pid_t& pid : crowd) ASSERT_EQ(::posix_spawn(&pid, "/bin/sleep", nullptr, nullptr, argv, nullptr), 0);
  Board board;
  Child init([&] {
    own_mounts();
    board[kInit] = ::getpid();
  });
  ASSERT_GT(board.wait(kInit), 1);
  const std::clock_t begin = std::clock();  // of the processor: others may have it most of the time
  EXPECT_EQ(members_of(init.pid(), 0).size(), 1U);
  const auto took = (std::clock() - begin) / (CLOCKS_PER_SEC / 1000);
  for (const pid_t pid : crowd) ::kill(pid, SIGKILL);
  for (const pid_t pid : crowd) ::waitpid(pid, nullptr, 0);
  RecordProperty("milliseconds", static_cast<int>(took));
  EXPECT_LT(took, 5000);  // some 40 ms on an idle machine; this guards against quadratic work
}

// Without CAP_SYS_PTRACE processes of others show their stat and status but neither program nor variables.
TEST_F(ProcMembers, DeniedFacetsNameTheCapability) {
  Board board;
  Child target([&] { board[0] = 1; });
  ASSERT_EQ(board.wait(0), 1);
  const std::int32_t pid = target.pid();
  Child reader([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    TaskFixture fixture;
    auto proc = Root::open("/proc");
    auto readers = Readers::start(*proc);
    if (!proc || !readers) ::_exit(2);
    auto process = read_process(*proc, *readers, pid, Clock{}, fixture.task);
    if (!process || process->comm.empty() || process->credentials.uids.size() != 4) ::_exit(3);
    int named = 0;
    for (const char* facet : {"proc.exe", "proc.environ", "proc.namespaces", "proc.cwd", "proc.root"}) {
      for (const Gap& gap : fixture.gaps.kept()) {
        named += gap.artifact == facet && gap.impact == Impact::lost && gap.error.code == Errc::denied &&
                 gap.error.what.find("needs CAP_SYS_PTRACE") != std::string::npos;
      }
    }
    auto there = proc->descend(std::to_string(pid));
    if (!there) ::_exit(5);
    auto descriptors = list_descriptors(
        *there, pid, [](Descriptor&&) -> Status { return Done{}; }, fixture.task);
    if (descriptors || descriptors.error().what.find("CAP_SYS_PTRACE") == std::string::npos) ::_exit(4);
    board[1] = 100 + named;
  });
  EXPECT_EQ(board.wait(1), 105);
}

}  // namespace
}  // namespace ctriage::proc
