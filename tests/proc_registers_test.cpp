// ptrace(2) on real threads; what they do with their registers is known.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <thread>
#include <vector>

#include "lib/core/sys.h"
#include "lib/proc/proc.h"
#include "lib/proc/registers.h"
#include "tests/proc_child.h"

namespace ctriage::proc {
namespace {

using testing::Board;
using testing::Child;

constexpr std::uint64_t kMarker = 0x1122334455667788;
constexpr std::size_t kTurns = 8;  // of the board: counted by the child's busy thread

#if defined(__x86_64__)
// Keeps the marker in r15 and counts for ever.
void spin(std::atomic<std::int32_t>& turns) {
  asm volatile(
      "movq %0, %%r15\n"
      "1: lock incl (%1)\n"
      "   jmp 1b\n"
      :
      : "r"(kMarker), "r"(&turns)
      : "r15", "memory");
}
#endif

class ProcRegisters : public ::testing::Test, public testing::TaskFixture {
 protected:
  void SetUp() override {
#if !defined(__x86_64__)
    GTEST_SKIP() << "the child's busy loop is written for x86-64";
#endif
    auto proc = Root::open("/proc");
    ASSERT_TRUE(proc.has_value());
    proc_ = *std::move(proc);
    auto readers = Readers::start(*proc_);
    ASSERT_TRUE(readers.has_value());
    readers_ = *std::move(readers);
  }

  struct Read {
    std::optional<Error> error;
    user_regs_struct general{};
    std::size_t floating = 0;
    std::size_t extended = 0;
  };
  std::vector<Read> read(std::int32_t pid, const std::vector<std::int32_t>& tids) {
    std::vector<Read> all;
    auto stood_ns = read_registers(
        *readers_, pid, tids,
        [&](std::size_t index, const Result<ThreadRegisters>& registers) {
          EXPECT_EQ(index, all.size());
          Read one;
          if (!registers) {
            one.error = registers.error();
          } else {
            EXPECT_EQ(registers->general.size(), sizeof one.general);
            std::memcpy(&one.general, registers->general.data(),
                        std::min(registers->general.size(), sizeof one.general));
            one.floating = registers->floating.size();
            one.extended = registers->extended.size();
          }
          all.push_back(one);
        },
        task);
    if (!stood_ns) {
      ADD_FAILURE() << stood_ns.error().what;
      return all;
    }
    stood_ns_ = *stood_ns;
    return all;
  }

  [[nodiscard]] char state_of(std::int32_t pid) const {
    const auto stat = read_stat(*proc_, pid);
    return stat ? stat->state : '?';
  }

  static void expect_goes_on(Board& board) {
    const std::int32_t before = board[kTurns];
    for (int tries = 0; tries < 10'000 && board[kTurns] == before; ++tries) ::usleep(1000);
    EXPECT_NE(board[kTurns], before);
  }

  std::optional<Root> proc_;
  std::optional<Readers> readers_;
  std::int64_t stood_ns_ = 0;
};

#if defined(__x86_64__)

TEST_F(ProcRegisters, OfBusyAndWaitingThreadsWhichGoOn) {
  Board board;
  const Child child([&] {
    std::thread([&] {
      board[2] = ::gettid();
      spin(board[kTurns]);
    }).detach();
    while (board[2] == 0) ::usleep(1000);
    board[1] = ::getpid();
  });
  const std::int32_t pid = board.wait(1);
  const std::int32_t busy = board[2];
  const auto found = read(pid, {pid, busy});
  ASSERT_EQ(found.size(), 2U);
  ASSERT_FALSE(found[0].error) << found[0].error->what;
  ASSERT_FALSE(found[1].error) << found[1].error->what;
  EXPECT_EQ(found[1].general.r15, kMarker);
  EXPECT_EQ(found[1].floating, sizeof(user_fpregs_struct));
  EXPECT_GE(found[1].extended, sizeof(user_fpregs_struct));
  EXPECT_NE(found[0].general.rip, 0U);
  EXPECT_NE(found[0].general.fs_base, found[1].general.fs_base);
  EXPECT_GT(stood_ns_, 0);
  EXPECT_LT(stood_ns_, kMostStopNs);
  expect_goes_on(board);
  EXPECT_EQ(state_of(busy), 'R');
}

TEST_F(ProcRegisters, AStoppedOneStaysStopped) {
  Board board;
  const Child child([&] { board[1] = ::getpid(); });
  const std::int32_t pid = board.wait(1);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  for (int tries = 0; tries < 10'000 && state_of(pid) != 'T'; ++tries) ::usleep(1000);
  const auto found = read(pid, {pid});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].error);
  ::usleep(20'000);
  EXPECT_EQ(state_of(pid), 'T');
}

TEST_F(ProcRegisters, SignalsThatComeMeanwhileArrive) {
  Board board;
  const Child child([&] {
    static Board* seen = nullptr;
    seen = &board;
    ::signal(SIGUSR1, [](int) { ++(*seen)[3]; });
    std::thread([&] {
      board[1] = ::getpid();
      for (;;) ::usleep(10);
    }).join();
  });
  const std::int32_t pid = board.wait(1);
  constexpr int kRounds = 200;
  int sent = 0;
  std::thread sender([&] {
    for (; sent < kRounds; ++sent) {
      const std::int32_t before = board[3];
      ::kill(pid, SIGUSR1);
      for (int tries = 0; tries < 10'000 && board[3] == before; ++tries) ::usleep(100);
    }
  });
  for (int i = 0; i < 200; ++i) EXPECT_FALSE(read(pid, {pid}).at(0).error);
  sender.join();
  EXPECT_EQ(board[3], kRounds);
}

TEST_F(ProcRegisters, TracedByAnotherIsDenied) {
  Board board;
  const Child child([&] {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    board[1] = ::getpid();
  });
  const std::int32_t pid = board.wait(1);
  const auto found = read(pid, {pid});
  ASSERT_EQ(found.size(), 1U);
  ASSERT_TRUE(found[0].error);
  EXPECT_EQ(found[0].error->code, Errc::denied);
}

TEST_F(ProcRegisters, AThreadOfAnotherProcessIsNotOfThisOneAndGoesOn) {
  Board board;
  const Child child([&] { board[1] = ::getpid(); });
  const Child other([&] {
    board[2] = ::getpid();
    spin(board[kTurns]);
  });
  const std::int32_t pid = board.wait(1);
  const std::int32_t stranger = board.wait(2);
  const auto found = read(pid, {stranger, pid, 0x7fffffff});
  ASSERT_EQ(found.size(), 3U);
  ASSERT_TRUE(found[0].error);
  EXPECT_EQ(found[0].error->code, Errc::vanished);
  EXPECT_FALSE(found[1].error);
  ASSERT_TRUE(found[2].error);
  EXPECT_EQ(found[2].error->code, Errc::vanished);
  expect_goes_on(board);
}

TEST_F(ProcRegisters, MoreThreadsThanStandAtATime) {
  constexpr std::size_t kThreads = 3 * kThreadsAtATime + 5;
  Board board;
  const Child child([&] {
    pthread_attr_t small;
    ::pthread_attr_init(&small);
    ::pthread_attr_setstacksize(&small, 256 << 10);
    for (std::size_t i = 0; i < kThreads; ++i) {
      pthread_t thread{};
      ::pthread_create(
          &thread, &small,
          [](void*) -> void* {
            ::pause();
            return nullptr;
          },
          nullptr);
    }
    board[1] = ::getpid();
  });
  const std::int32_t pid = board.wait(1);
  auto process = proc_->descend(std::to_string(pid));
  ASSERT_TRUE(process.has_value());
  std::vector<std::int32_t> tids;
  ASSERT_TRUE(list_threads(
      *process, pid,
      [&](Thread&& thread) -> Status {
        tids.push_back(thread.tid);
        return Done{};
      },
      task));
  ASSERT_EQ(tids.size(), kThreads + 1);
  for (const Read& one : read(pid, tids)) EXPECT_FALSE(one.error);
}

// The parent of a vfork(2) waits where no signal reaches it.
TEST_F(ProcRegisters, OneThatCannotBeStoppedIsLetGoOf) {
  Board board;
  const Child child([&] {
    board[1] = ::getpid();
    const std::int32_t made = ::vfork();
    if (made == 0) {
      board[2] = ::getpid();
      for (;;) ::pause();
    }
    ::waitpid(made, nullptr, 0);
    spin(board[kTurns]);
  });
  const std::int32_t pid = board.wait(1);
  const std::int32_t holder = board.wait(2);
  const auto found = read(pid, {pid});
  ASSERT_EQ(found.size(), 1U);
  ASSERT_TRUE(found[0].error);
  EXPECT_EQ(found[0].error->code, Errc::timeout);
  ASSERT_EQ(::kill(holder, SIGKILL), 0);
  expect_goes_on(board);
  EXPECT_FALSE(read(pid, {pid}).at(0).error);  // by a fresh reader
}

TEST_F(ProcRegisters, OursAreRefused) {
  const std::int32_t pid = ::getpid();
  const auto refused = read_registers(*readers_, pid, std::span(&pid, 1), {}, task);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::unsupported);
}

#endif

}  // namespace
}  // namespace ctriage::proc
