// Readers of /proc against processes that the test made and knows.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "lib/proc/proc.h"
#include "tests/proc_child.h"

namespace ctriage::proc {
namespace {

using ctriage::testing::Board;
using ctriage::testing::Child;
using ctriage::testing::TaskFixture;
namespace fs = std::filesystem;

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class ProcLive : public ::testing::Test, protected TaskFixture {
 protected:
  void SetUp() override {
    auto root = Root::open("/proc");
    ASSERT_TRUE(root);
    proc_.emplace(*std::move(root));
    auto readers = Readers::start(*proc_);
    ASSERT_TRUE(readers) << readers.error().what;
    readers_.emplace(*std::move(readers));
    auto clock = read_clock(*proc_);
    ASSERT_TRUE(clock);
    clock_ = *clock;
    char name[] = "/tmp/ctriage-proc-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    if (!dir_.empty()) fs::remove_all(dir_, ignored);
  }

  Process process_of(std::int32_t pid) {
    auto process = read_process(*proc_, *readers_, pid, clock_, task);
    EXPECT_TRUE(process) << process.error().what;
    return process ? *std::move(process) : Process{};
  }
  Root opened(std::int32_t pid) {
    auto stat = read_stat(*proc_, pid);
    EXPECT_TRUE(stat);
    auto process = open_process(*proc_, pid, stat ? stat->start_ticks : 0);
    EXPECT_TRUE(process) << process.error().what;
    return *std::move(process);
  }
  void expect_no_gaps() {
    for (const Gap& gap : gaps.kept())
      ADD_FAILURE() << gap.artifact << " " << gap.origin << " " << gap.error.what;
  }
  // Waits until the child runs another program than the test.
  void wait_for_exec(const Child& child) {
    const std::string link = "/proc/" + std::to_string(child.pid()) + "/exe";
    const auto self = fs::read_symlink("/proc/self/exe");
    for (int tries = 0; tries < 5000; ++tries) {
      std::error_code error;
      const auto exe = fs::read_symlink(link, error);
      // execve(2) switches the program first, the arguments a moment later and the environment last, when it
      // has counted both (create_elf_tables): what we start here then sleeps.
      const std::string stat =
          error || exe == self ? "" : slurp("/proc/" + std::to_string(child.pid()) + "/stat");
      if (stat.find(") S ") != std::string::npos) return;
      ::usleep(1000);
    }
    FAIL() << "the child did not start its program";
  }

  std::optional<Root> proc_;
  std::optional<Readers> readers_;
  Clock clock_;
  std::string dir_;
};

std::uint64_t inode_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

TEST_F(ProcLive, Ourselves) {
  const Process self = process_of(::getpid());
  expect_no_gaps();
  EXPECT_EQ(self.pid, ::getpid());
  EXPECT_EQ(self.ppid, ::getppid());
  EXPECT_EQ(self.pgrp, ::getpgrp());
  EXPECT_EQ(self.session, ::getsid(0));

  std::string joined;
  for (const Bytes& argument : self.argv) joined += argument.raw + '\0';
  EXPECT_EQ(joined, slurp("/proc/self/cmdline"));
  joined.clear();
  for (const Bytes& variable : self.environ) joined += variable.raw + '\0';
  EXPECT_EQ(joined, slurp("/proc/self/environ"));
  EXPECT_EQ(self.exe.path.raw, fs::read_symlink("/proc/self/exe").string());
  struct stat exe {};
  ASSERT_EQ(::stat("/proc/self/exe", &exe), 0);
  EXPECT_EQ(self.exe.inode.value, exe.st_ino);
  EXPECT_EQ(self.exe.device.value, std::uint64_t{major(exe.st_dev)} << 32 | minor(exe.st_dev));
  EXPECT_EQ(self.exe.mode, exe.st_mode & 07777);
  EXPECT_EQ(self.exe.size_bytes, static_cast<std::uint64_t>(exe.st_size));
  ASSERT_TRUE(self.exe.mtime);
  EXPECT_EQ(self.exe.mtime->seconds, exe.st_mtim.tv_sec);
  EXPECT_FALSE(self.exe.deleted);
  EXPECT_EQ(self.cwd.raw, fs::current_path().string());
  EXPECT_EQ(self.root.raw, "/");
  EXPECT_EQ(self.credentials.uids, (std::vector<std::uint32_t>(4, ::getuid())));
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const auto limit = std::ranges::find(self.limits, std::string("Max open files"), &Limit::name);
  ASSERT_NE(limit, self.limits.end());
  EXPECT_EQ(limit->soft, std::to_string(files.rlim_cur));
  EXPECT_GE(self.namespaces.size(), 8U);
  for (const NamespaceId& ns : self.namespaces)
    EXPECT_EQ(ns.inode.value, inode_of("/proc/self/ns/" + ns.type)) << ns.type;
  const std::int64_t age = sys::realtime().seconds - self.started_at.value().seconds;
  EXPECT_GE(age, -2);
  EXPECT_LE(age, 300);
  EXPECT_GT(self.rss_bytes, 100'000U);
  EXPECT_GT(self.virtual_bytes, self.rss_bytes);
  std::string cgroups;
  for (const Bytes& line : self.cgroups) cgroups += line.raw + "\n";
  EXPECT_EQ(cgroups, slurp("/proc/self/cgroup"));
}

// The kernel is the oracle for masks and clocks that we set ourselves.
TEST_F(ProcLive, SignalsTimersAndWatches) {
  Board board;
  Child child([&] {
    ::signal(SIGUSR1, SIG_IGN);
    ::signal(SIGUSR2, [](int) {});
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGHUP);
    ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR2;
    timer_t timer{};
    const bool made = ::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    const int watched = ::eventfd(0, EFD_CLOEXEC);
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event wait{};
    wait.events = EPOLLIN;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, watched, &wait);
    const int inotify = ::inotify_init1(IN_CLOEXEC);
    ::inotify_add_watch(inotify, "/tmp", IN_CREATE | IN_DELETE);
    board[0] = made ? 1 : 2;
  });
  ASSERT_EQ(board.wait(0), 1);
  const Process process = process_of(child.pid());
  const auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
  ASSERT_TRUE(process.signals);
  EXPECT_NE(process.signals->ignored.value & bit(SIGUSR1), 0U);
  EXPECT_EQ(process.signals->caught.value & (bit(SIGUSR1) | bit(SIGUSR2)), bit(SIGUSR2));
  EXPECT_NE(process.signals->blocked.value & bit(SIGHUP), 0U);
  if (fs::exists("/proc/self/timers")) {
    ASSERT_EQ(process.timers.size(), 1U);
    EXPECT_EQ(process.timers[0].signal, static_cast<std::uint32_t>(SIGUSR2));
    EXPECT_EQ(process.timers[0].clock, CLOCK_MONOTONIC);
    EXPECT_EQ(process.timers[0].notify, "signal");
  }
  std::map<std::string, Descriptor> watching;
  const auto keep = [&](Descriptor&& descriptor) {
    if (!descriptor.watches.empty()) watching[descriptor.watches[0].kind] = std::move(descriptor);
    return Status(Done{});
  };
  ASSERT_TRUE(list_descriptors(opened(child.pid()), child.pid(), keep, task));
  ASSERT_TRUE(watching.contains("epoll"));
  EXPECT_EQ(watching["epoll"].watches[0].events.value & EPOLLIN, std::uint64_t{EPOLLIN});
  EXPECT_TRUE(watching["epoll"].watches[0].fd.has_value());
  ASSERT_TRUE(watching.contains("inotify"));
  struct stat tmp {};
  ASSERT_EQ(::stat("/tmp", &tmp), 0);
  EXPECT_EQ(watching["inotify"].watches[0].inode.value, tmp.st_ino);
  EXPECT_EQ(watching["inotify"].watches[0].events.value & (IN_CREATE | IN_DELETE | IN_MODIFY),
            std::uint64_t{IN_CREATE | IN_DELETE});
}

TEST_F(ProcLive, HostileName) {
  Board board;
  Child child([&] {
    ::prctl(PR_SET_NAME, "a) R 1 (b\nc");
    board[0] = 1;
  });
  ASSERT_EQ(board.wait(0), 1);
  const Process process = process_of(child.pid());
  EXPECT_EQ(process.comm.raw, "a) R 1 (b\nc");
  EXPECT_EQ(process.ppid, ::getpid());
  EXPECT_EQ(process.credentials.uids.size(), 4U);
  expect_no_gaps();
}

TEST_F(ProcLive, MemfdProgram) {
  Child child([] {
    const std::string bytes = slurp("/bin/sleep");
    const int fd = ::memfd_create("x y", MFD_CLOEXEC);
    if (::write(fd, bytes.data(), bytes.size()) < 0) ::_exit(1);
    char name[] = "kworker";
    char time[] = "1000";
    char* argv[] = {name, time, nullptr};
    char* none[] = {nullptr};
    ::fexecve(fd, argv, none);
  });
  wait_for_exec(child);
  const Process process = process_of(child.pid());
  EXPECT_EQ(process.exe.path.raw, "/memfd:x y");
  EXPECT_TRUE(process.exe.deleted);
  EXPECT_EQ(process.exe.size_bytes, fs::file_size("/bin/sleep"));
  ASSERT_EQ(process.argv.size(), 2U);
  EXPECT_EQ(process.argv[0].raw, "kworker");
  EXPECT_TRUE(process.environ.empty());
  expect_no_gaps();
}

TEST_F(ProcLive, DeletedProgramAndOneThatIsOnlyCalledSo) {
  for (const bool unlink : {true, false}) {
    const std::string name = dir_ + (unlink ? "/gone" : "/fake (deleted)");
    fs::copy_file("/bin/sleep", name);
    Child child([&] { ::execl(name.c_str(), "sleep", "1000", nullptr); });
    wait_for_exec(child);
    if (unlink) fs::remove(name);
    const Process process = process_of(child.pid());
    EXPECT_EQ(process.exe.path.raw, name);
    EXPECT_EQ(process.exe.deleted, unlink);
  }
  expect_no_gaps();
}

TEST_F(ProcLive, ZombieHasNoProgramAndThatIsNoGap) {
  Child child([] { ::_exit(0); });
  for (int tries = 0; tries < 1000; ++tries) {
    auto stat = read_stat(*proc_, child.pid());
    if (stat && stat->has_ended()) break;
    ::usleep(1000);
  }
  const Process process = process_of(child.pid());
  EXPECT_EQ(process.state, "Z");
  EXPECT_TRUE(process.exe.path.empty());
  EXPECT_TRUE(process.argv.empty());
  expect_no_gaps();
}

TEST_F(ProcLive, KernelThreadHasNoProgramAndThatIsNoGap) {
  auto stat = read_stat(*proc_, 2);
  if (!stat || !stat->is_kernel_thread()) GTEST_SKIP() << "pid 2 is no kernel thread in this pid namespace";
  const Process process = process_of(2);
  EXPECT_EQ(process.comm.raw, "kthreadd");
  EXPECT_TRUE(process.exe.path.empty());
  expect_no_gaps();
}

TEST_F(ProcLive, EndedProcessHasVanished) {
  Child child([] {});
  const std::int32_t pid = child.pid();
  const Root there = opened(pid);
  child.end();
  auto process = read_process(*proc_, *readers_, pid, clock_, task);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, Errc::vanished);
  const std::vector<Status> all = {
      list_threads(
          there, pid, [](Thread&&) -> Status { return Done{}; }, task),
      list_descriptors(
          there, pid, [](Descriptor&&) -> Status { return Done{}; }, task),
      list_mappings(
          there, *readers_, pid, [](Mapping&&) -> Status { return Done{}; }, task),
      list_sockets(
          there, pid, [](Socket&&) -> Status { return Done{}; }, task)};
  for (const Status& status : all) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::vanished) << status.error().what;
  }
  auto mounts = read_mounts(*proc_, pid, task);
  ASSERT_FALSE(mounts);
  EXPECT_EQ(mounts.error().code, Errc::vanished);
  expect_no_gaps();  // the caller writes it
}

// The number of a process that ended can be another's a moment later: here the directory of a made-up /proc
// is moved away and another one takes its place.
TEST_F(ProcLive, AnotherProcessWithTheNumberIsNotRead) {
  const auto write_process = [&](const std::string& name, std::uint64_t start_ticks) {
    fs::create_directories(dir_ + "/17/task/17");
    std::string stat = "17 (" + name + ") S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 ";
    stat += std::to_string(start_ticks) + " 0 0\n";
    for (const char* file : {"/17/stat", "/17/task/17/stat"}) std::ofstream(dir_ + file) << stat;
  };
  const auto names = [&](const Root& process) {
    std::vector<std::string> found;
    const auto take = [&](Thread&& thread) -> Status {
      found.push_back(thread.comm.raw);
      return Done{};
    };
    EXPECT_TRUE(list_threads(process, 17, take, task));
    return found;
  };
  write_process("ours", 100);
  auto made_up = Root::open(dir_);
  ASSERT_TRUE(made_up);
  auto ours = open_process(*made_up, 17, 100);
  ASSERT_TRUE(ours) << ours.error().what;

  fs::rename(dir_ + "/17", dir_ + "/gone");
  write_process("stranger", 101);
  const auto taken = open_process(*made_up, 17, 100);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::vanished);
  EXPECT_EQ(names(*ours), std::vector<std::string>{"ours"});

  fs::remove_all(dir_ + "/gone");  // as procfs does when the process is gone
  const auto after = list_threads(
      *ours, 17, [](Thread&&) -> Status { return Done{}; }, task);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::vanished);
  expect_no_gaps();
}

// What the readers open by number is of the process only if that is still there.
TEST_F(ProcLive, MappingsOfAnotherProcessWithTheNumberAreNotGiven) {
  Child child([] {});
  Child other([] {});
  const Root gone = opened(child.pid());
  child.end();
  std::size_t given = 0;
  const auto count = [&](Mapping&&) -> Status {
    ++given;
    return Done{};
  };
  const auto listed =
      list_mappings(gone, *readers_, other.pid(), count, task);  // as if `other` had its number
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code, Errc::vanished);
  EXPECT_EQ(given, 0U);
}

// execve(2): 6 MiB of arguments at most, 128 KiB each.
TEST_F(ProcLive, HugeArgumentsAreCutWithAGap) {
  for (const bool many : {false, true}) {
    Child child([&] {
      const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
      ::setrlimit(RLIMIT_STACK, &unlimited);
      std::vector<std::string> text(many ? 200'000 : 45, many ? "" : std::string(120'000, 'x'));
      text.insert(text.begin(), {"sleep", "1000"});
      if (!many) text.insert(text.begin(), "--");
      std::vector<char*> argv;
      for (std::string& argument : text) argv.push_back(argument.data());
      argv.push_back(nullptr);
      char sleep[] = "sleep";
      char time[] = "1000";
      char* plain[] = {sleep, time, nullptr};
      ::execve("/bin/sleep", plain, argv.data());  // as the environment: sleep takes no other arguments
    });
    wait_for_exec(child);
    const Process process = process_of(child.pid());
    EXPECT_EQ(process.argv.size(), 2U);
    std::size_t bytes = 0;
    for (const Bytes& variable : process.environ) bytes += variable.raw.size() + 1;
    if (many) {
      EXPECT_EQ(process.environ.size(), 131'072U);
    } else {
      EXPECT_EQ(bytes, (4U << 20) + 1);  // the last string is cut and has no terminator
    }
  }
  ASSERT_EQ(gaps.kept().size(), 2U);
  for (const Gap& gap : gaps.kept()) {
    EXPECT_EQ(gap.impact, Impact::degraded);
    EXPECT_EQ(gap.artifact, "proc.environ");
    EXPECT_EQ(gap.error.code, Errc::limit);
  }
}

TEST_F(ProcLive, Threads) {
  Board board;
  Child child([&] {
    for (int i = 0; i < 3; ++i) {
      std::thread([&board, i] {
        ::pthread_setname_np(::pthread_self(), ("t) " + std::to_string(i)).c_str());
        board[static_cast<std::size_t>(i)] = ::gettid();
        for (;;) ::pause();
      }).detach();
    }
  });
  std::vector<std::int32_t> expected = {child.pid()};
  for (std::size_t i = 0; i < 3; ++i) expected.push_back(board.wait(i));
  std::ranges::sort(expected);
  std::vector<Thread> threads;
  ASSERT_TRUE(list_threads(
      opened(child.pid()), child.pid(),
      [&](Thread&& t) -> Status {
        threads.push_back(t);
        return Done{};
      },
      task));
  ASSERT_EQ(threads.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(threads[i].tid, expected[i]);
    EXPECT_EQ(threads[i].pid, child.pid());
    EXPECT_GT(threads[i].start_ticks, 0U);
    EXPECT_TRUE(threads[i].syscall);
    for (std::size_t n = 0; n < 3; ++n) {
      if (threads[i].tid == board[n]) {
        EXPECT_EQ(threads[i].comm.raw, "t) " + std::to_string(n));
      }
    }
  }
  EXPECT_EQ(process_of(child.pid()).threads, 4U);
  expect_no_gaps();
}

TEST_F(ProcLive, Descriptors) {
  const std::string kept = dir_ + "/kept";
  const std::string gone = dir_ + "/gone";
  const std::string pipe_name = dir_ + "/fifo";
  ASSERT_EQ(::mkfifo(pipe_name.c_str(), 0600), 0);
  Board board;
  Child child([&] {
    ::close_range(3, ~0U, 0);
    int fd = ::open(kept.c_str(), O_RDWR | O_CREAT | O_APPEND, 0600);  // 3
    if (::write(fd, "hello", 5) != 5) ::_exit(1);
    fd = ::open(gone.c_str(), O_RDWR | O_CREAT, 0600);  // 4
    if (::write(fd, "0123456789", 10) != 10) ::_exit(1);
    ::lseek(fd, 4, SEEK_SET);
    ::unlink(gone.c_str());
    fd = ::memfd_create("secret", 0);  // 5
    if (::ftruncate(fd, 4096) != 0) ::_exit(1);
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(1);    // 6, 7
    ::socket(AF_INET, SOCK_STREAM, 0);    // 8
    ::epoll_create1(0);                   // 9
    ::open("/", O_RDONLY | O_DIRECTORY);  // 10
    ::open("/dev/null", O_WRONLY);        // 11
    ::open(pipe_name.c_str(), O_RDWR);    // 12
    ::dup2(3, 1000);
    board[0] = 1;
  });
  ASSERT_EQ(board.wait(0), 1);
  std::vector<Descriptor> found;
  ASSERT_TRUE(list_descriptors(
      opened(child.pid()), child.pid(),
      [&](Descriptor&& d) -> Status {
        if (d.fd > 2) found.push_back(d);
        return Done{};
      },
      task));
  expect_no_gaps();
  const std::vector<std::string> kinds = {"regular", "regular",   "memfd",     "fifo", "fifo",   "socket",
                                          "anon",    "directory", "character", "fifo", "regular"};
  ASSERT_EQ(found.size(), kinds.size());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    EXPECT_EQ(found[i].kind, kinds[i]) << found[i].target.raw;
    EXPECT_EQ(found[i].fd, i + 1 < kinds.size() ? static_cast<std::int32_t>(i) + 3 : 1000);
  }
  EXPECT_EQ(found[0].target.raw, kept);
  EXPECT_EQ(found[0].position_bytes, 5U);
  EXPECT_EQ(found[0].size_bytes, 5U);
  EXPECT_EQ(found[0].nlink, 1U);
  EXPECT_FALSE(found[0].deleted);
  EXPECT_EQ(found[0].inode.value, inode_of(kept));
  EXPECT_EQ(found[0].flags.value & (O_ACCMODE | O_APPEND), static_cast<std::uint64_t>(O_RDWR | O_APPEND));
  EXPECT_EQ(found[1].target.raw, gone + " (deleted)");
  EXPECT_TRUE(found[1].deleted);
  EXPECT_EQ(found[1].nlink, 0U);
  EXPECT_EQ(found[1].position_bytes, 4U);
  EXPECT_EQ(found[1].size_bytes, 10U);
  EXPECT_EQ(found[2].target.raw, "/memfd:secret (deleted)");
  EXPECT_EQ(found[5].target.raw, "socket:[" + std::to_string(found[5].inode.value) + "]");
}

TEST_F(ProcLive, SixtyThousandMappings) {
  constexpr std::size_t kPages = 60'000;
  Board board;
  Child child([&] {
    char* base =
        static_cast<char*>(::mmap(nullptr, kPages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (std::size_t i = 0; i < kPages; i += 2) ::mprotect(base + i * 4096, 4096, PROT_NONE);
    board[0] = 1;
  });
  ASSERT_EQ(board.wait(0), 1);
  const std::string text = slurp("/proc/" + std::to_string(child.pid()) + "/maps");
  std::size_t count = 0;
  std::uint64_t last = 0;
  bool own_program = false;
  const std::string exe = fs::read_symlink("/proc/self/exe").string();
  auto listed = list_mappings(
      opened(child.pid()), *readers_, child.pid(),
      [&](Mapping&& m) -> Status {
        EXPECT_GE(m.start.value, last);
        last = m.end.value;
        own_program |= m.path.raw == exe && m.protection == "r-xp";
        ++count;
        return Done{};
      },
      task);
  ASSERT_TRUE(listed) << listed.error().what;
  EXPECT_EQ(count, static_cast<std::size_t>(std::ranges::count(text, '\n')));
  EXPECT_GT(count, kPages / 2);
  EXPECT_TRUE(own_program);
  expect_no_gaps();

  std::size_t taken = 0;
  auto refused = list_mappings(
      opened(child.pid()), *readers_, child.pid(),
      [&](Mapping&&) -> Status {
        return ++taken == 3 ? Status(Error{Errc::full, "enough"}) : Status(Done{});
      },
      task);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::full);
  EXPECT_EQ(taken, 3U);
}

TEST_F(ProcLive, Sockets) {
  UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(tcp.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(tcp.get(), 1), 0);
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(tcp.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);

  UniqueFd local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  const std::string name = dir_ + "/a b\nc";  // a newline that the kernel does not escape
  name.copy(path.sun_path, sizeof path.sun_path - 1);
  ASSERT_EQ(::bind(local.get(), reinterpret_cast<sockaddr*>(&path), sizeof path), 0);
  ASSERT_EQ(::listen(local.get(), 1), 0);
  UniqueFd packet(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(3)));

  struct stat tcp_stat {
  }, local_stat{}, packet_stat{};
  ::fstat(tcp.get(), &tcp_stat);
  ::fstat(local.get(), &local_stat);
  std::vector<Socket> found;
  auto listed = list_sockets(
      opened(::getpid()), ::getpid(),
      [&](Socket&& s) -> Status {
        found.push_back(s);
        return Done{};
      },
      task);
  ASSERT_TRUE(listed) << listed.error().what;
  const auto by_inode = [&](std::uint64_t inode) {
    return std::ranges::find(found, Hex{inode}, &Socket::inode);
  };
  const auto tcp_found = by_inode(tcp_stat.st_ino);
  ASSERT_NE(tcp_found, found.end());
  EXPECT_EQ(tcp_found->family, "tcp");
  EXPECT_EQ(tcp_found->state, "LISTEN");
  EXPECT_EQ(tcp_found->local.raw, "127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  EXPECT_EQ(tcp_found->network_namespace.value, inode_of("/proc/self/ns/net"));
  const auto local_found = by_inode(local_stat.st_ino);
  ASSERT_NE(local_found, found.end());
  EXPECT_EQ(local_found->state, "LISTEN");
  EXPECT_EQ(local_found->local.raw, name);
  ASSERT_EQ(gaps.kept().size(), 1U);
  EXPECT_EQ(gaps.kept()[0].impact, Impact::degraded);
  if (packet) {
    ::fstat(packet.get(), &packet_stat);
    const auto packet_found = by_inode(packet_stat.st_ino);
    ASSERT_NE(packet_found, found.end());
    EXPECT_EQ(packet_found->local.raw, "0x0003:0");
  }
}

// A main thread may end while others live: what is read of the process is then read of one of those.
TEST_F(ProcLive, AMainThreadThatEndedHidesNothing) {
  Board board;
  Child child([&] {
    std::thread([&board] {
      board[0] = ::gettid();
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);  // this thread alone; pthread_exit(3) would unwind the test
  });
  const std::int32_t tid = board.wait(0);
  ASSERT_GT(tid, 0);
  for (int tries = 0; tries < 5000; ++tries) {
    auto stat = read_stat(*proc_, child.pid());
    if (stat && stat->main_thread_ended()) break;
    ::usleep(1000);
  }
  EXPECT_EQ(live_path(*proc_, child.pid()), std::to_string(child.pid()) + "/task/" + std::to_string(tid));
  EXPECT_EQ(live_path(*proc_, ::getpid()), std::to_string(::getpid()));
  const Process process = process_of(child.pid());
  const Process self = process_of(::getpid());
  EXPECT_EQ(process.state, "Z");
  EXPECT_EQ(process.threads, 2U);
  EXPECT_EQ(process.exe.path.raw, self.exe.path.raw);
  EXPECT_EQ(process.exe.inode, self.exe.inode);
  EXPECT_EQ(process.container_pid, child.pid());
  EXPECT_EQ(process.argv, self.argv);
  EXPECT_EQ(process.environ, self.environ);
  EXPECT_EQ(process.cwd, self.cwd);
  EXPECT_EQ(process.namespaces.size(), self.namespaces.size());
  EXPECT_EQ(process.cgroups, self.cgroups);
  EXPECT_GT(process.rss_bytes, 0U);
  auto net = read_namespace(*proc_, child.pid(), "net");
  ASSERT_TRUE(net);
  EXPECT_EQ(net->value, inode_of("/proc/self/ns/net"));
  std::size_t mappings = 0;
  EXPECT_TRUE(list_mappings(
      opened(child.pid()), *readers_, child.pid(),
      [&](Mapping&&) -> Status {
        ++mappings;
        return Done{};
      },
      task));
  EXPECT_GT(mappings, 5U);
  auto mounts = read_mounts(*proc_, child.pid(), task);
  EXPECT_TRUE(mounts && !mounts->empty());
  expect_no_gaps();
}

TEST_F(ProcLive, ADescriptorTableOfAThread) {
  const std::string name = dir_ + "/own";
  const std::string gone = dir_ + "/gone";  // two files that had this name, under the same number
  Board board;
  Child child([&] {
    const int common = ::open(gone.c_str(), O_RDWR | O_CREAT, 0600);
    board[2] = common;
    ::unlink(gone.c_str());
    std::thread([&, common] {
      if (::unshare(CLONE_FILES) != 0) ::_exit(1);
      const int other = ::open(gone.c_str(), O_RDWR | O_CREAT, 0600);
      ::unlink(gone.c_str());
      if (::dup2(other, common) < 0 || ::close(other) != 0) ::_exit(1);
      const int fd = ::open(name.c_str(), O_RDWR | O_CREAT, 0600);
      board[0] = fd;
      for (;;) ::pause();
    }).detach();
    std::thread([&] {  // shares it with the main thread
      board[1] = 1;
      for (;;) ::pause();
    })
        .detach();
  });
  const std::int32_t fd = board.wait(0);
  ASSERT_GT(fd, 2);
  ASSERT_EQ(board.wait(1), 1);
  std::vector<Descriptor> own;
  std::size_t shared = 0;
  ASSERT_TRUE(list_descriptors(
      opened(child.pid()), child.pid(),
      [&](Descriptor&& d) -> Status {
        if (d.tid == 0) ++shared;
        if (d.tid != 0) own.push_back(std::move(d));
        return Done{};
      },
      task));
  ASSERT_EQ(own.size(), 2U);
  EXPECT_EQ(own[0].fd, board[2]);
  EXPECT_EQ(own[0].target.raw, gone + " (deleted)");
  EXPECT_EQ(own[1].fd, fd);
  EXPECT_EQ(own[1].target.raw, name);
  EXPECT_EQ(own[1].kind, "regular");
  EXPECT_GE(shared, 3U);
  expect_no_gaps();
}

TEST_F(ProcLive, AProgramDeeperThanAPage) {
  fs::path deep = dir_;
  fs::current_path(dir_);
  for (int i = 0; i < 25; ++i) {
    fs::create_directory(std::string(200, 'd'));
    fs::current_path(std::string(200, 'd'));
    deep /= std::string(200, 'd');
  }
  fs::copy_file("/bin/sleep", "deep");
  {
    Child child([&] { ::execl("./deep", "deep", "1000", nullptr); });
    for (int tries = 0; tries < 5000; ++tries) {
      auto stat = read_stat(*proc_, child.pid());
      if (stat && stat->comm.raw == "deep") break;
      ::usleep(1000);
    }
    ::usleep(20'000);  // its libraries and arguments
    const Process process = process_of(child.pid());
    EXPECT_EQ(process.exe.path.raw, (deep / "deep").string());
    EXPECT_EQ(process.exe.inode.value, inode_of("deep"));
    EXPECT_EQ(process.exe.size_bytes, fs::file_size("/bin/sleep"));
    EXPECT_TRUE(process.cwd.empty());
  }
  fs::current_path("/");
  ASSERT_EQ(gaps.kept().size(), 1U);
  EXPECT_EQ(gaps.kept()[0].artifact, "proc.cwd");
  EXPECT_EQ(gaps.kept()[0].impact, Impact::degraded);
}

// 20,000 mounts: the first are kept, the one asked for, and the last at "/".
TEST_F(ProcLive, AMountTableTooLargeIsCut) {
  fs::create_directories(dir_ + "/7");
  std::ofstream(dir_ + "/7/stat") << "7 (x) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0\n";
  {
    std::ofstream table(dir_ + "/7/mountinfo");
    for (int id = 1; id <= 20'000; ++id) {
      const std::string point = id == 1 || id == 19'000 || id == 19'500 ? "/" : "/m" + std::to_string(id);
      table << id << " 1 0:5 / " << point << " rw - tmpfs t rw\n";
    }
  }
  auto fake = Root::open(dir_);
  ASSERT_TRUE(fake);
  auto mounts = read_mounts(*fake, 7, task, 18'000);
  ASSERT_TRUE(mounts) << mounts.error().what;
  ASSERT_EQ(mounts->size(), 16'386U);
  EXPECT_EQ(mounts->front().id, 1U);
  EXPECT_EQ((*mounts)[16'383].id, 16'384U);
  EXPECT_EQ((*mounts)[16'384].id, 18'000U);
  EXPECT_EQ(mounts->back().id, 19'500U);
  ASSERT_EQ(gaps.kept().size(), 1U);
  EXPECT_EQ(gaps.kept()[0].impact, Impact::lost);
  EXPECT_NE(gaps.kept()[0].error.what.find("3614 of 20000 mounts"), std::string::npos)
      << gaps.kept()[0].error.what;
}

TEST_F(ProcLive, MountsAndPids) {
  auto mounts = read_mounts(*proc_, ::getpid(), task);
  ASSERT_TRUE(mounts);
  const std::string text = slurp("/proc/self/mountinfo");
  EXPECT_EQ(mounts->size(), static_cast<std::size_t>(std::ranges::count(text, '\n')));
  EXPECT_TRUE(std::ranges::any_of(
      *mounts, [](const Mount& m) { return m.mountpoint.raw == "/proc" && m.fstype.raw == "proc"; }));
  auto pids = list_pids(*proc_);
  ASSERT_TRUE(pids);
  EXPECT_TRUE(std::ranges::is_sorted(*pids));
  EXPECT_TRUE(std::ranges::binary_search(*pids, ::getpid()));
  EXPECT_TRUE(std::ranges::binary_search(*pids, 1));
  expect_no_gaps();
}

TEST_F(ProcLive, StopEndsTheListing) {
  stop = true;
  auto status = list_descriptors(
      opened(::getpid()), ::getpid(), [](Descriptor&&) -> Status { return Done{}; }, task);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::stopped);
}

}  // namespace
}  // namespace ctriage::proc
