#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <csignal>
#include <string>

#include "lib/core/program.h"
#include "lib/core/sys.h"
#include "lib/core/sys_program.h"

namespace ctriage {
namespace {

using ::testing::HasSubstr;

constexpr std::array<std::string_view, 2> kShell{"/nonexistent/sh", "/bin/sh"};
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(sys::on_signal(SIGPIPE, SIG_IGN)); }

  Result<Program::End> shell(const std::string& script, Program::Call call = {}) {
    auto program = Program::find(kShell, task_);
    if (!program) return std::move(program).error();
    call.arguments = {"-c", script};
    call.output = [this](std::span<const std::byte> bytes) -> Status {
      printed_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return Done{};
    };
    return program->run(call, task_);
  }

  GapLog gaps_;
  std::atomic<bool> stop_{false};
  Task task_{gaps_, stop_, [] { return sys::realtime(); }};
  std::string printed_;
};

TEST_F(ProgramTest, FindNamesAllThatItLookedFor) {
  const std::array<std::string_view, 2> none{"/nonexistent/a", "/nonexistent/b"};
  const auto program = Program::find(none, task_);
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().code, Errc::not_found);
  EXPECT_THAT(program.error().what, HasSubstr("/nonexistent/a, /nonexistent/b"));
  const std::array<std::string_view, 1> directory{"/usr"};
  EXPECT_EQ(Program::find(directory, task_).error().code, Errc::malformed);
}

TEST_F(ProgramTest, ItsDigestIsThatOfTheFile) {
  const auto program = Program::find(kShell, task_);
  ASSERT_TRUE(program);
  EXPECT_EQ(program->path(), "/bin/sh");
  ASSERT_TRUE(shell("sha256sum < /bin/sh", {.environment = {"PATH=/usr/bin:/bin"}}));
  EXPECT_EQ(printed_.substr(0, 64), to_hex(program->sha256()));
}

TEST_F(ProgramTest, StatusOutputAndErrors) {
  const auto end = shell("echo out; echo err >&2; exit 7");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->status, 7);
  EXPECT_EQ(printed_, "out\n");
  EXPECT_EQ(end->error, "err\n");
  EXPECT_EQ(shell("kill -9 $$")->status, 137);
}

TEST_F(ProgramTest, KeepsTheEndOfManyErrors) {
  const auto end = shell("i=0; while [ $i -lt 3000 ]; do echo $i >&2; i=$((i+1)); done");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->error.size(), Program::kMaxErrorBytes);
  EXPECT_TRUE(end->error.ends_with("\n2999\n"));
}

TEST_F(ProgramTest, GetsItsEnvironmentAndNothingElse) {
  ASSERT_TRUE(shell("/usr/bin/env", {.environment = {"A=b c", "LC_ALL=C"}}));
  EXPECT_EQ(printed_, "A=b c\nLC_ALL=C\nPWD=" + printed_.substr(printed_.find("PWD=") + 4));
}

TEST_F(ProgramTest, OnlyWhatItIsHandedIsOpen) {
  auto held = sys::nameless_file("held");
  auto secret = sys::nameless_file("secret");
  ASSERT_TRUE(held && secret);
  ASSERT_TRUE(sys::pwrite_all(secret->get(), std::as_bytes(std::span("hunter2", 7)), 0, "secret"));
  const std::string number = std::to_string(secret->get());
  ASSERT_TRUE(shell("cat /proc/self/fd/" + number + "; ls /proc/$$/fd",
                    {.environment = {"PATH=/usr/bin:/bin"}, .handed = secret->get()}));
  EXPECT_EQ(printed_, "hunter20\n1\n2\n" + number + "\n");
}

TEST_F(ProgramTest, FeedsAndTakesMoreThanAPipeHolds) {
  const std::string large(5'000'000, 'x');
  MemorySource source(large);
  const auto end = shell("/bin/cat", {.feed = &source});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->status, 0);
  EXPECT_EQ(printed_, large);
}

TEST_F(ProgramTest, WhatItDoesNotWantIsNoError) {
  const std::string large(5'000'000, 'x');
  MemorySource source(large);
  const auto end = shell("exit 3", {.feed = &source});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->status, 3);
}

TEST_F(ProgramTest, InputIsAFile) {
  auto file = sys::nameless_file("input");
  ASSERT_TRUE(file);
  ASSERT_TRUE(sys::pwrite_all(file->get(), std::as_bytes(std::span("abc", 3)), 0, "input"));
  ASSERT_TRUE(shell("/bin/cat /proc/self/fd/0", {.input = file->get()}));
  EXPECT_EQ(printed_, "abc");
}

TEST_F(ProgramTest, OneThatStallsIsKilled) {
  const std::int64_t began_ns = sys::boottime_ns();
  const auto end =
      shell("echo $$; exec sleep 100", {.environment = {"PATH=/usr/bin:/bin"}, .stall_ns = kNsPerSecond / 2});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::timeout);
  EXPECT_LT(sys::boottime_ns() - began_ns, 20 * kNsPerSecond);
  EXPECT_FALSE(sys::kill(std::stoi(printed_), 0));
}

TEST_F(ProgramTest, OneThatTakesNothingStallsToo) {
  const std::string large(5'000'000, 'x');
  MemorySource source(large);
  const auto end =
      shell("exec sleep 100",
            {.environment = {"PATH=/usr/bin:/bin"}, .feed = &source, .stall_ns = kNsPerSecond / 2});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::timeout);
}

TEST_F(ProgramTest, AStopEndsIt) {
  stop_ = true;
  const auto end = shell("sleep 100", {.environment = {"PATH=/usr/bin:/bin"}});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::stopped);
}

TEST_F(ProgramTest, WhatItLeavesBehindDoesNotHoldUs) {
  const std::int64_t began_ns = sys::boottime_ns();
  const auto end = shell("sleep 15 & exit 0", {.environment = {"PATH=/usr/bin:/bin"}});
  ASSERT_TRUE(end);
  EXPECT_LT(sys::boottime_ns() - began_ns, 10 * kNsPerSecond);
}

}  // namespace
}  // namespace ctriage
