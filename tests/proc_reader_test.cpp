#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <set>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {
namespace {

// Fields of /proc/PID/stat behind the name, the first of them number 3.
std::vector<std::string> stat_fields(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::string> fields;
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return fields;
  for (const auto field : split_fields(trim(std::string_view(text).substr(name_end + 1))))
    fields.emplace_back(field);
  return fields;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto pid = parse_number<pid_t>(entry.path().filename().string());
    if (!pid) continue;
    const auto fields = stat_fields(entry.path().filename().string());
    if (fields.size() > 1 && fields[1] == std::to_string(parent) && fields[0] != "Z") found.push_back(*pid);
  }
  return found;
}

bool ended(pid_t pid) {
  const auto fields = stat_fields(std::to_string(pid));
  return fields.empty() || fields[0] == "Z";
}

bool comes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 200; ++i) {
    if (condition()) return true;
    sys::sleep_ns(10'000'000);
  }
  return false;
}

class ReadersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto proc = open_procfs(why_);
    ASSERT_TRUE(proc) << proc.error().what;
    proc_.emplace(*std::move(proc));
    auto readers = Readers::start(*proc_);
    ASSERT_TRUE(readers) << readers.error().what;
    readers_.emplace(*std::move(readers));
  }
  [[nodiscard]] static std::string own(const char* name) { return std::to_string(::getpid()) + "/" + name; }

  std::string why_;
  std::optional<Root> proc_;
  std::optional<Readers> readers_;
  GapLog gaps_;
  std::atomic<bool> stop_{false};
  Task task_{gaps_, stop_, [] { return Timestamp{}; }};
};

TEST_F(ReadersTest, ReadsWhatAPlainReadSees) {
  std::ifstream plain("/proc/self/cmdline", std::ios::binary);
  const std::string expected{std::istreambuf_iterator<char>(plain), std::istreambuf_iterator<char>()};
  EXPECT_EQ(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).value(), expected);
  const auto maps = readers_->read_file(own("maps"), kMaxProcTextBytes, task_);
  ASSERT_TRUE(maps);
  EXPECT_NE(maps->find("[stack]"), std::string::npos);
  EXPECT_EQ(readers_->read_file(own("maps"), 10, task_).error().code, Errc::limit);
  EXPECT_EQ(readers_->read_file(own("cmdline"), expected.size(), task_).value(), expected);
}

TEST_F(ReadersTest, ErrorsAreThoseOfTheFile) {
  const auto missing = readers_->open("0/cmdline", task_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_EQ(missing.error().number, ENOENT);
  EXPECT_EQ(missing.error().what, "open 0/cmdline: No such file or directory");
  EXPECT_EQ(readers_->open("../etc/passwd", task_).error().code, Errc::outside);
  EXPECT_EQ(readers_->open(own("exe"), task_).error().code, Errc::outside);
  EXPECT_EQ(readers_->open(own("fd"), task_).error().code, Errc::unsupported);
  EXPECT_EQ(readers_->open(std::string(9'000, 'x'), task_).error().code, Errc::limit);
  EXPECT_TRUE(readers_->open(own("cmdline"), task_).has_value());
}

TEST_F(ReadersTest, PinsWhatIsMapped) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: map_files";
  const auto maps = readers_->read_file(own("maps"), kMaxProcTextBytes, task_);
  ASSERT_TRUE(maps);
  const auto lines = split(*maps, '\n');
  const auto code = std::ranges::find_if(lines, [](std::string_view line) {
    return line.find(" r-xp ") != std::string_view::npos && line.find(" /") != std::string_view::npos;
  });
  ASSERT_NE(code, lines.end());
  // maps pads an address to eight digits, map_files does not.
  const auto ends = split((*code).substr(0, (*code).find(' ')), '-');
  ASSERT_EQ(ends.size(), 2U);
  const auto number = [](std::string_view hex) { return std::stoull(std::string(hex), nullptr, 16); };
  const std::string name = own("map_files/") + fmt::format("{:x}-{:x}", number(ends[0]), number(ends[1]));
  const auto pinned = readers_->pin_magic(name, task_);
  ASSERT_TRUE(pinned) << pinned.error().what;
  const auto fields = split_fields(*code);
  EXPECT_EQ(file_info(pinned->get(), name)->inode, parse_number<std::uint64_t>(fields[4]));
  EXPECT_EQ(readers_->pin_magic(own("map_files/1-2"), task_).error().code, Errc::not_found);
  EXPECT_EQ(readers_->pin_magic("0/map_files/1-2", task_).error().code, Errc::not_found);
  EXPECT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_));
}

TEST_F(ReadersTest, OneOpenFileAtATime) {
  auto first = readers_->open(own("maps"), task_);
  std::byte room[16];
  EXPECT_EQ((*first)->read(room).value(), 16U);
  EXPECT_EQ((*first)->read({}).value(), 0U);
  auto second = readers_->open(own("cmdline"), task_);
  EXPECT_FALSE((*first)->read(room).has_value());
  first->reset();  // must not close the second
  EXPECT_TRUE((*second)->read(room).has_value());
  readers_.reset();  // the source may outlive them
  EXPECT_TRUE((*second)->read(room).has_value());
}

// A stopped reader gives no answer and takes no signal but SIGKILL, as one that waits for a lock of the
// target.
TEST_F(ReadersTest, AStuckReadEndsAndTheNextWorks) {
  const pid_t watchdog = children_of(::getpid()).at(0);
  for (int round = 0; round < 2; ++round) {
    auto source = readers_->open(own("maps"), task_);
    const pid_t stuck = children_of(watchdog).at(0);
    ::kill(stuck, SIGSTOP);
    std::byte room[16];
    const std::int64_t began_ns = sys::boottime_ns();
    const auto read = (*source)->read(room);
    const std::int64_t took_ns = sys::boottime_ns() - began_ns;
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, Errc::timeout);
    EXPECT_EQ(read.error().what, "read " + own("maps") + ": no answer in 2 s");
    EXPECT_GE(took_ns, kReadTimeoutNs);
    EXPECT_LT(took_ns, kReadTimeoutNs + 1'000'000'000);
    EXPECT_EQ((*source)->read(room).error().code, Errc::timeout);  // and at once
    EXPECT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
    EXPECT_TRUE(comes_true([&] { return ended(stuck); }));
    EXPECT_EQ(children_of(watchdog).size(), 1U);
  }
}

std::atomic<bool>* stop_flag = nullptr;

TEST_F(ReadersTest, ASignalOrTheDeadlineEndsAStuckRead) {
  const pid_t watchdog = children_of(::getpid()).at(0);
  stop_flag = &stop_;
  ASSERT_TRUE(sys::on_signal(SIGALRM, [](int) { *stop_flag = true; }).has_value());
  for (const Errc expected : {Errc::stopped, Errc::timeout}) {
    auto source = readers_->open(own("maps"), task_);
    ::kill(children_of(watchdog).at(0), SIGSTOP);
    const std::int64_t began_ns = sys::boottime_ns();
    if (expected == Errc::stopped) {
      const itimerval soon{{0, 0}, {0, 100'000}};
      ::setitimer(ITIMER_REAL, &soon, nullptr);
    } else {
      task_.deadline_ns = began_ns + 100'000'000;
    }
    std::byte room[16];
    EXPECT_EQ((*source)->read(room).error().code, expected);
    EXPECT_LT(sys::boottime_ns() - began_ns, 1'000'000'000);
    stop_ = false;
    task_.deadline_ns = INT64_MAX;
    EXPECT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  }
}

TEST_F(ReadersTest, HelpersIgnoreInterruptsAndHoldNothing) {
  ASSERT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  const auto watchdogs = children_of(::getpid());
  ASSERT_EQ(watchdogs.size(), 1U);
  const auto readers = children_of(watchdogs[0]);
  ASSERT_EQ(readers.size(), 1U);
  for (const pid_t pid : {watchdogs[0], readers[0]}) {
    std::set<std::string> open;
    for (int tries = 0; tries < 200; ++tries) {  // that our file is closed is asked for, not waited for
      open.clear();
      for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
        std::error_code gone;
        open.insert(std::filesystem::read_symlink(entry, gone).string());
      }
      if (std::ranges::none_of(open, [](const std::string& what) { return what.ends_with("/cmdline"); }))
        break;
      sys::sleep_ns(10'000'000);
    }
    for (const auto& what : open) {
      EXPECT_TRUE(what.starts_with("socket:") || what.starts_with("anon_inode:") || what == "/" ||
                  what == "/proc")
          << what;
    }
    ::kill(pid, SIGINT);
    ::kill(pid, SIGTERM);
  }
  EXPECT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  EXPECT_EQ(children_of(watchdogs[0]), readers);
}

TEST_F(ReadersTest, AKilledReaderIsReplacedAndTheEndLeavesNobody) {
  ASSERT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  const pid_t watchdog = children_of(::getpid()).at(0);
  const pid_t reader = children_of(watchdog).at(0);
  ::kill(reader, SIGKILL);
  ASSERT_TRUE(comes_true([&] { return ended(reader); }));
  EXPECT_FALSE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  EXPECT_TRUE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  const pid_t second = children_of(watchdog).at(0);
  EXPECT_NE(second, reader);
  readers_.reset();
  EXPECT_TRUE(ended(watchdog));
  EXPECT_TRUE(comes_true([&] { return ended(second); }));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // no zombie either
}

TEST_F(ReadersTest, ADeadWatchdogIsAnErrorNotAHang) {
  const pid_t watchdog = children_of(::getpid()).at(0);
  ::kill(watchdog, SIGKILL);
  ASSERT_TRUE(comes_true([&] { return ended(watchdog); }));
  EXPECT_FALSE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
  EXPECT_FALSE(readers_->read_file(own("cmdline"), kMaxCmdlineBytes, task_).has_value());
}

TEST_F(ReadersTest, AKilledSupervisorTakesAllWithIt) {
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    auto readers = Readers::start(*proc_);
    if (::fork() == 0) {  // holds the supervisor's end of the socket and outlives it
      ::sleep(5);
      ::_exit(0);
    }
    const auto source = readers->open(std::to_string(::getpid()) + "/maps", task_);
    if (!source) ::_exit(1);
    for (;;) ::pause();
  }
  std::vector<pid_t> all;
  EXPECT_TRUE(comes_true([&] {
    all = children_of(supervisor);
    for (const pid_t pid : children_of(supervisor)) {
      const auto below = children_of(pid);
      all.insert(all.end(), below.begin(), below.end());
    }
    return all.size() == 3;  // watchdog, its reader, and the process that only sleeps
  }));
  ::kill(supervisor, SIGKILL);
  ::waitpid(supervisor, nullptr, 0);
  EXPECT_TRUE(comes_true(
      [&] { return std::count_if(all.begin(), all.end(), [](pid_t pid) { return !ended(pid); }) == 1; }));
  for (const pid_t pid : all) {
    if (!ended(pid)) ::kill(pid, SIGKILL);
  }
}

TEST_F(ReadersTest, TheProcfsIsOurs) {
  EXPECT_EQ(why_, "");
  EXPECT_FALSE(sys::openat2(proc_->fd(), own("oom_score_adj"), O_WRONLY).has_value());
  std::ifstream mounts("/proc/self/mountinfo");
  const std::string text{std::istreambuf_iterator<char>(mounts), std::istreambuf_iterator<char>()};
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(" - proc ", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 1U) << text;  // the system's own; ours is in no list
}

}  // namespace
}  // namespace ctriage::proc
