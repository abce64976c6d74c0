// Each check runs in a forked child that leaves with _exit: what it gave up is gone for good, and the leak
// checker of the sanitizers, which needs ptrace, must not run in it.
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>
#include <thread>

#include "lib/core/root.h"
#include "lib/core/sandbox.h"
#include "tests/temp_dir.h"

namespace ctriage {
namespace {

// The wait status of a child that runs `body` and leaves with what it returns.
int in_child(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

void expect_success(const std::function<int()>& body) { EXPECT_EQ(in_child(body), 0); }

bool enter(const SandboxPlan& plan, bool expect_files) {
  const auto level = enter_sandbox(plan);
  if (!level) std::fprintf(stderr, "%s\n", level.error().what.c_str());
  return level && level->syscalls && level->files == expect_files;
}

SandboxPlan syscalls_only() { return {{}, {}, false}; }

TEST(Sandbox, DeniesByList) {
  const struct {
    const char* name;
    std::function<long()> call;
    int number;
  } cases[] = {
    {"socket", [] { return ::socket(AF_INET, SOCK_STREAM, 0); }, EPERM},
    {"connect", [] { return ::connect(-1, nullptr, 0); }, EPERM},
    {"execve", [] { return ::execl("/bin/true", "true", nullptr); }, EPERM},
    {"execveat", [] { return ::syscall(SYS_execveat, AT_FDCWD, "/bin/true", nullptr, nullptr, 0); }, EPERM},
    {"ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }, EPERM},
    {"unshare", [] { return ::unshare(CLONE_NEWNS); }, EPERM},
    {"setns", [] { return ::setns(-1, 0); }, EPERM},
    {"mount", [] { return ::mount("none", "/nowhere", "tmpfs", 0, ""); }, EPERM},
    {"umount", [] { return ::umount2("/nowhere", 0); }, EPERM},
    {"open_tree", [] { return ::syscall(SYS_open_tree, AT_FDCWD, "/", 1); }, EPERM},
    {"chroot", [] { return ::chroot("/"); }, EPERM},
    {"bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); }, EPERM},
    {"io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }, EPERM},
    {"userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); }, EPERM},
    {"mknod", [] { return ::mknod("/tmp/ctriage-never", S_IFCHR, 0); }, EPERM},
    {"clone with a new namespace", [] { return ::syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, nullptr); },
     EPERM},
    {"clone3", [] { return ::syscall(SYS_clone3, nullptr, 0); }, ENOSYS},
    {"typing into the terminal", [] { return ::ioctl(0, TIOCSTI, "x"); }, EPERM},
#if defined(__x86_64__)
    {"x32", [] { return ::syscall(0x4000'0000 + SYS_getpid); }, EPERM},
#endif
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    expect_success([&] {
      if (!enter(syscalls_only(), false)) return 2;
      errno = 0;
      if (c.call() >= 0) return 3;
      if (errno != c.number) std::fprintf(stderr, "%s: errno %d\n", c.name, errno);
      return errno == c.number ? 0 : 4;
    });
  }
}

TEST(Sandbox, ClonesUntilForbidden) {
  expect_success([] {
    if (!enter({{}, {}, false, true}, false)) return 2;
    const auto clone = [] {
      errno = 0;
      const long fd = ::syscall(SYS_open_tree, -1, "", 1 /* OPEN_TREE_CLONE */);
      return fd >= 0 ? 0 : errno;
    };
    if (clone() == EPERM) return 3;  // the kernel looked at it: no such directory
    GapLog gaps;
    forbid_clones(gaps);
    if (gaps.count(Impact::note) != 0) return 4;
    return clone() == EPERM && ::mount("none", "/nowhere", "tmpfs", 0, "") != 0 && errno == EPERM ? 0 : 5;
  });
}

TEST(Sandbox, LeavesWhatAParserNeeds) {
  expect_success([] {
    if (!enter(syscalls_only(), false)) return 2;
    std::atomic<int> seen{0};
    std::thread([&] { seen = ::socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM ? 1 : 2; }).join();
    if (seen != 1) return 3;  // threads start, and the filter is theirs too
    const auto root = Root::open("/proc");
    if (!root || !root->open_beneath("self/status").has_value()) {
      if (!root->open_in_root("self/status").has_value()) return 4;
    }
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    int status = -1;
    return ::waitpid(child, &status, 0) == child && status == 0 ? 0 : 5;
  });
}

#if defined(__x86_64__)
TEST(Sandbox, TheOtherTableOfSystemCallsKills) {
  const int status = in_child([] {
    if (!enter(syscalls_only(), false)) return 2;
    long result = 0;
    asm volatile("int $0x80"
                 : "=a"(result)
                 : "a"(20L)
                 : "memory", "r8", "r9", "r10", "r11");  // getpid of i386
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}
#endif

TEST(Sandbox, ConfinesFiles) {
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0) {
    GTEST_SKIP() << "this kernel has no Landlock";
  }
  TempDir dir;
  for (const char* name : {"in", "out", "other"}) ::mkdir((dir / name).c_str(), 0755);
  for (const char* name : {"in/a", "out/a", "other/a", "single"}) dir.write(name, "text");
  expect_success([&] {
    const auto in = Root::open(dir / "in");
    const auto out = Root::open(dir / "out");
    const int single = ::open((dir / "single").c_str(), O_PATH | O_CLOEXEC);
    if (!in || !out || !enter({{in->fd(), single}, {out->fd()}, true}, true)) return 2;
    const auto opens = [&](const char* name, int flags) {
      const int fd = ::open((dir / name).c_str(), flags | O_CLOEXEC, 0600);
      return fd >= 0;
    };
    if (!opens("in/a", O_RDONLY) || !opens("single", O_RDONLY) || !in->open_beneath("a").has_value())
      return 3;
    if (opens("in/a", O_WRONLY) || opens("in/new", O_WRONLY | O_CREAT) || opens("other/a", O_RDONLY))
      return 4;
    if (opens("../../etc/passwd", O_RDONLY) || opens("other", O_RDONLY | O_DIRECTORY)) return 5;
    if (!opens("out/new", O_WRONLY | O_CREAT) || !opens("out/a", O_RDWR | O_TRUNC)) return 6;
    if (::rename((dir / "out/new").c_str(), (dir / "out/done").c_str()) != 0) return 7;
    if (::unlink((dir / "other/a").c_str()) == 0 || ::unlink((dir / "out/done").c_str()) != 0) return 8;
    if (::truncate((dir / "in/a").c_str(), 0) == 0) return 9;
    return 0;
  });
}

TEST(Sandbox, ABadDescriptorIsAnError) {
  expect_success([] { return enter_sandbox({.readable = {-1}}).has_value() ? 1 : 0; });
}

}  // namespace
}  // namespace ctriage
