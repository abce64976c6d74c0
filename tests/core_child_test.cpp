#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "lib/core/child.h"

namespace ctriage {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kMost = 1 << 20;
std::atomic<bool> child_stopped{false};
const std::atomic<bool> kNever{false};

void on_stop(int) { child_stopped = true; }

TEST(Child, MessagesOfAnySizeBothWays) {
  auto child = Child::start(
      [](Channel& parent) {
        for (;;) {
          auto message = parent.receive(kMost, kNever);
          if (!message) return 9;
          if (!*message) return 7;  // the parent closed its end
          if (!parent.send(**message + "!")) return 8;
        }
      },
      on_stop);
  ASSERT_TRUE(child);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{300'000}}) {
    ASSERT_TRUE(child->channel().send(std::string(size, 'x')));
    const auto answer = child->channel().receive(kMost, kNever);
    ASSERT_TRUE(answer && *answer);
    EXPECT_EQ(**answer, std::string(size, 'x') + "!");
  }
  const auto status = child->wait();
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 7);
}

TEST(Child, SaysNoMoreThanIsAsked) {
  auto child =
      Child::start([](Channel& parent) { return parent.send(std::string(1'000, 'x')) ? 0 : 1; }, on_stop);
  ASSERT_TRUE(child);
  const auto answer = child->channel().receive(999, kNever);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::limit);
}

TEST(Child, EndsWithoutAWord) {
  auto child = Child::start([](Channel&) { return 3; }, on_stop);
  ASSERT_TRUE(child);
  const auto answer = child->channel().receive(kMost, kNever);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(*answer);
  EXPECT_EQ(*child->wait(), 3);
}

TEST(Child, KilledIsAnError) {
  auto child = Child::start(
      [](Channel&) {
        ::raise(SIGKILL);
        return 0;
      },
      on_stop);
  ASSERT_TRUE(child);
  const auto status = child->wait();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().what, HasSubstr("signal 9"));
}

// TERM of a whole process group reaches both; only the parent's word counts.
TEST(Child, StopsByTheParentsWordOnly) {
  auto child = Child::start(
      [](Channel& parent) {
        ::raise(SIGTERM);
        ::raise(SIGINT);
        ::raise(SIGHUP);
        if (!parent.send("ready")) return 1;
        const auto message = parent.receive(kMost, child_stopped);
        return !message && message.error().code == Errc::stopped ? 5 : 6;
      },
      on_stop);
  ASSERT_TRUE(child);
  const auto ready = child->channel().receive(kMost, kNever);
  ASSERT_TRUE(ready && *ready);
  EXPECT_EQ(**ready, "ready");
  child->stop();
  sys::sleep_ns(300'000'000);
  EXPECT_EQ(*child->wait(), 5);
  EXPECT_FALSE(child_stopped);
}

TEST(Child, SiblingsDoNotKeepAChannelOpen) {
  const Child::Work waits = [](Channel& parent) {
    const auto message = parent.receive(kMost, kNever);
    return message && !*message ? 0 : 1;
  };
  auto first = Child::start(waits, on_stop);
  ASSERT_TRUE(first);
  Child* const siblings[] = {&*first};
  auto second = Child::start(waits, on_stop, siblings);
  ASSERT_TRUE(second);
  EXPECT_EQ(*first->wait(), 0);  // would hang
  EXPECT_EQ(*second->wait(), 0);
}

}  // namespace
}  // namespace ctriage
