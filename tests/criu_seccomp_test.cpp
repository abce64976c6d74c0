// Seccomp filters: programs of classic BPF as strace and the kernel's samples write them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/criu/criu.h"
#include "lib/criu/seccomp.h"
#include "lib/criu/syscalls.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::criu {
namespace {

using source::ImageWriter;
using source::Out;
using source::word;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint32_t kAllow = 0x7fff0000;
constexpr std::uint32_t kErrno = 0x00050000;
constexpr std::uint32_t kKillProcess = 0x80000000;

std::string bpf(std::uint16_t code, std::uint32_t k, unsigned if_true = 0, unsigned if_false = 0) {
  return {static_cast<char>(code & 0xff),    static_cast<char>(code >> 8),
          static_cast<char>(if_true),        static_cast<char>(if_false),
          static_cast<char>(k & 0xff),       static_cast<char>(k >> 8 & 0xff),
          static_cast<char>(k >> 16 & 0xff), static_cast<char>(k >> 24 & 0xff)};
}

// Allows read and, with a first argument of 1, write; execve is answered with EPERM; other machines are
// killed.
std::string sample() {
  return bpf(0x20, 4) + bpf(0x15, 0xc000003e, 1, 0) + bpf(0x06, kKillProcess) +  // machine
         bpf(0x20, 0) + bpf(0x15, 0, 4, 0) + bpf(0x15, 59, 4, 0) + bpf(0x15, 1, 0, 4) + bpf(0x20, 16) +
         bpf(0x15, 1, 0, 2) + bpf(0x06, kAllow) + bpf(0x06, kErrno | 1) + bpf(0x06, kErrno | 38);
}

std::map<std::string, std::string> verdicts(const SeccompAnswers& answers) {
  std::map<std::string, std::string> by_call;
  for (const auto& group : answers.groups) {
    std::string text;
    for (const auto& action : group.actions) text += (text.empty() ? "" : " or ") + action;
    for (const auto call : group.calls) by_call[std::string(call)] = text;
  }
  return by_call;
}

TEST(Seccomp, ListsAProgram) {
  const auto program = parse_bpf(sample());
  ASSERT_TRUE(program) << program.error().what;
  EXPECT_THAT(list_bpf(*program, kMachineX86),
              ElementsAre("0: A = machine", "1: if A == 0xc000003e (x86_64) goto 3, else 2",
                          "2: return kill process", "3: A = call", "4: if A == 0 (read) goto 9, else 5",
                          "5: if A == 59 (execve) goto 10, else 6", "6: if A == 1 (write) goto 7, else 11",
                          "7: A = argument 0 low", "8: if A == 0x1 goto 9, else 11", "9: return allow",
                          "10: return errno 1", "11: return errno 38"));
}

// A number is another call on another machine.
TEST(Seccomp, NamesCallsOfItsMachineOnly) {
  const auto program = parse_bpf(bpf(0x20, 4) + bpf(0x15, 0x40000003, 0, 2) + bpf(0x20, 0) +
                                 bpf(0x15, 11, 1, 0) + bpf(0x06, kAllow) + bpf(0x06, kErrno));
  ASSERT_TRUE(program);
  const auto lines = list_bpf(*program, kMachineX86);
  EXPECT_EQ(lines.at(1), "1: if A == 0x40000003 (i386) goto 2, else 4");
  EXPECT_EQ(lines.at(3), "3: if A == 11 goto 5, else 4");
}

TEST(Seccomp, ListsEveryInstruction) {
  const struct {
    std::string code;
    const char* text;
  } cases[] = {
      {bpf(0x20, 8), "A = address low"},
      {bpf(0x20, 28), "A = argument 1 high"},
      {bpf(0x80, 0), "A = 64"},
      {bpf(0x81, 0), "X = 64"},
      {bpf(0x00, 5), "A = 0x5"},
      {bpf(0x01, 5), "X = 0x5"},
      {bpf(0x60, 3), "A = M[3]"},
      {bpf(0x61, 3), "X = M[3]"},
      {bpf(0x02, 3), "M[3] = A"},
      {bpf(0x03, 3), "M[3] = X"},
      {bpf(0x04, 1), "A += 0x1"},
      {bpf(0x1c, 0), "A -= X"},
      {bpf(0x24, 2), "A *= 0x2"},
      {bpf(0x34, 2), "A /= 0x2"},
      {bpf(0x44, 2), "A |= 0x2"},
      {bpf(0x54, 2), "A &= 0x2"},
      {bpf(0x64, 2), "A <<= 0x2"},
      {bpf(0x74, 2), "A >>= 0x2"},
      {bpf(0xa4, 2), "A ^= 0x2"},
      {bpf(0x84, 0), "A = -A"},
      {bpf(0x07, 0), "X = A"},
      {bpf(0x87, 0), "A = X"},
      {bpf(0x05, 0), "goto 1"},
      {bpf(0x25, 4), "if A > 0x4 goto 1, else 1"},
      {bpf(0x3d, 0), "if A >= X goto 1, else 1"},
      {bpf(0x45, 4), "if A & 0x4 goto 1, else 1"},
      {bpf(0x28, 0), "not an instruction of seccomp: 0028 0x0"},
  };
  for (const auto& c : cases) {
    const auto program = parse_bpf(c.code + bpf(0x16, 0));
    ASSERT_TRUE(program) << c.text;
    EXPECT_THAT(list_bpf(*program, kMachineX86), ElementsAre(std::string("0: ") + c.text, "1: return A"));
  }
}

TEST(Seccomp, WorksOutTheAnswers) {
  const auto program = parse_bpf(sample());
  std::size_t steps = 100'000;
  const auto answers = answers_of(*program, kMachineX86, steps);
  ASSERT_TRUE(answers) << answers.error().what;
  EXPECT_THAT(answers->otherwise, ElementsAre("errno 38"));
  EXPECT_THAT(answers->other_machine, ElementsAre("kill process"));
  EXPECT_EQ(verdicts(*answers),
            (std::map<std::string, std::string>{
                {"read", "allow"}, {"execve", "errno 1"}, {"write", "allow or errno 38"}}));
}

// A table over actions: the data is of the lower half, and what the kernel does not know kills.
TEST(Seccomp, NamesActions) {
  const struct {
    std::uint32_t value;
    const char* text;
  } cases[] = {{0x7fff0000, "allow"},       {0x7ffc0000, "log"},          {0x7ff00007, "trace 7"},
               {0x7fc00000, "notify"},      {0x0005000d, "errno 13"},     {0x00030002, "trap 2"},
               {0x00000000, "kill thread"}, {0x80000000, "kill process"}, {0x12340000, "kill process"}};
  for (const auto& c : cases) {
    const auto program = parse_bpf(bpf(0x06, c.value));
    std::size_t steps = 10'000;
    const auto answers = answers_of(*program, kMachineAarch64, steps);
    ASSERT_TRUE(answers);
    EXPECT_THAT(answers->otherwise, ElementsAre(c.text));
    EXPECT_TRUE(answers->groups.empty());
  }
}

// Arithmetic, memory and X carry a known number: the program returns allow for getpid (39) only.
TEST(Seccomp, FollowsValues) {
  const auto program = parse_bpf(bpf(0x20, 0) + bpf(0x02, 1) + bpf(0x00, 40) + bpf(0x14, 1) + bpf(0x07, 0) +
                                 bpf(0x60, 1) + bpf(0x1d, 0, 0, 1) + bpf(0x06, kAllow) + bpf(0x06, 0));
  ASSERT_TRUE(program);
  std::size_t steps = 100'000;
  const auto answers = answers_of(*program, kMachineX86, steps);
  ASSERT_TRUE(answers);
  EXPECT_EQ(verdicts(*answers), (std::map<std::string, std::string>{{"getpid", "allow"}}));
}

TEST(Seccomp, RefusesWhatIsNoProgram) {
  const struct {
    const char* name;
    std::string bytes;
    Errc code;
  } cases[] = {
      {"half an instruction", sample().substr(0, 12), Errc::malformed},
      {"no end", bpf(0x20, 0), Errc::malformed},
      {"a jump behind the end", bpf(0x15, 0, 1, 0) + bpf(0x06, 0), Errc::malformed},
      {"a jump that wraps", bpf(0x05, UINT32_MAX) + bpf(0x06, 0), Errc::malformed},
      {"too long", std::string((kMaxBpfInstructions + 1) * 8, '\x06'), Errc::limit},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto program = parse_bpf(c.bytes);
    ASSERT_FALSE(program);
    EXPECT_EQ(program.error().code, c.code);
  }
  std::size_t steps = 10;
  EXPECT_EQ(answers_of(*parse_bpf(sample()), kMachineX86, steps).error().code, Errc::limit);
  EXPECT_EQ(answers_of(*parse_bpf(sample()), 5, steps).error().code, Errc::unsupported);
}

// Each question doubles the ways: what is alike is gone once, and there is an end to what is not.
TEST(Seccomp, ManyWaysEnd) {
  std::string questions;
  for (unsigned i = 0; i < 200; ++i)
    questions += bpf(0x20, 16) + bpf(0x45, 1U << i % 32, 0, 1) + bpf(0x00, i) + bpf(0x02, i % 16);
  std::size_t steps = 1'000'000;
  const auto program = parse_bpf(questions + bpf(0x06, kAllow));
  ASSERT_TRUE(program);
  const auto answers = answers_of(*program, kMachineX86, steps);
  EXPECT_TRUE(answers || answers.error().code == Errc::limit);
}

TEST(Seccomp, ReadsTheImage) {
  ImageWriter image(0x64413049);
  image.entry([](Out& out) {
    Out first(out, 1);
    first.add_bytes(1, sample());
    first.commit();
    Out second(out, 1);
    second.add_bytes(1, bpf(0x06, kAllow));
    second.add_uint32(2, 0);
    second.add_uint32(3, 1);
    second.commit();
  });
  const auto entries = parse_seccomp(image.bytes());
  ASSERT_TRUE(entries) << entries.error().what;
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ(entries->at(0).program, sample());
  EXPECT_EQ(entries->at(0).previous, std::nullopt);
  EXPECT_EQ(entries->at(1).previous, 0U);
  EXPECT_EQ(entries->at(1).flags, 1U);
  for (std::size_t size = 0; size < image.bytes().size(); ++size)
    EXPECT_FALSE(parse_seccomp(image.bytes().substr(0, size))) << size;
}

TEST(Syscalls, AreThoseOfTheMachine) {
  const auto name = [](std::uint32_t machine, std::uint32_t number) {
    for (const Syscall& call : syscalls_of(machine)) {
      if (call.number == number) return std::string(call.name);
    }
    return std::string();
  };
  EXPECT_EQ(name(kMachineX86, 0), "read");
  EXPECT_EQ(name(kMachineX86, 321), "bpf");
  EXPECT_EQ(name(kMachineX86, 334), "rseq");
  EXPECT_EQ(name(kMachineX86, 435), "clone3");
  EXPECT_EQ(name(kMachineAarch64, 63), "read");
  EXPECT_EQ(name(kMachineAarch64, 221), "execve");
  EXPECT_EQ(name(kMachineAarch64, 435), "clone3");
  EXPECT_TRUE(syscalls_of(4).empty());
}

}  // namespace
}  // namespace ctriage::criu
