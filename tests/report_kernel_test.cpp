// Lines of `show` about signals, timers, filters, watches, and what differs from the specification.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/report/show_internal.h"

namespace ctriage::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Bytes> bytes(const std::vector<std::string>& texts) { return {texts.begin(), texts.end()}; }

TEST(ReportKernel, Signals) {
  Process process;
  EXPECT_THAT(signal_lines(process), IsEmpty());
  process.signals = Signals{Hex{0x4000}, Hex{0x1001000}, Hex{0x8000000000000402}, {}};
  EXPECT_THAT(signal_lines(process), ElementsAre("blocks TERM", "ignores PIPE XFSZ", "catches INT SEGV 64"));
  process.signals->handlers = {
      {2, Hex{0x401000}, Hex{0}}, {11, Hex{0x402000}, Hex{4}}, {64, Hex{0x401000}, Hex{0}}};
  process.signals->blocked = Hex{~std::uint64_t{0x4000}};
  process.signals->ignored = Hex{0};
  EXPECT_THAT(signal_lines(process),
              ElementsAre("blocks all but TERM", "catches INT 64 at 401000", "catches SEGV at 402000"));
}

TEST(ReportKernel, Timers) {
  Process process;
  Timer real;
  real.kind = "real";
  real.signal = 14;
  real.interval_ns = 2'500'000'000;
  real.remaining_ns = 1'250'000'000;
  Timer live;
  live.kind = "posix";
  live.id = 3;
  live.clock = 1;
  live.signal = 34;
  live.notify = "none";
  process.timers = {real, live};
  EXPECT_THAT(signal_lines(process), ElementsAre("timer real, sends ALRM, next in 1.250 s, every 2.500 s",
                                                 "timer posix 3, clock 1, tells nobody"));
}

TEST(ReportKernel, Watches) {
  Descriptor descriptor;
  EXPECT_EQ(watch_lines(descriptor), "");
  Watch file;
  file.kind = "inotify";
  file.path = Bytes("/etc/\x1b[2J");
  file.events = Hex{0x300};
  Watch target;
  target.kind = "epoll";
  target.fd = 7;
  target.events = Hex{0x5};
  descriptor.watches = {file, target};
  const std::string text = watch_lines(descriptor);
  EXPECT_THAT(text, HasSubstr("watches /etc/"));
  EXPECT_THAT(text, HasSubstr(": create,delete\n"));
  EXPECT_THAT(text, HasSubstr("watches fd 7: in,out\n"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  descriptor.watches.assign(25, target);
  EXPECT_THAT(watch_lines(descriptor), HasSubstr("... 5 more: --json"));
}

TEST(ReportKernel, Filters) {
  SeccompFilter filter;
  filter.number = 1;
  filter.previous = 0;
  filter.instructions = 2;
  filter.otherwise = "errno 1";
  filter.other_machines = "kill process";
  filter.rules = {{"allow", false, {"read", "write"}}, {"allow or errno 1", true, {"clone"}}};
  filter.listing = {"0: A = call", "1: return allow"};
  EXPECT_EQ(filter_block(filter, {7, 9}, std::nullopt, Style{}),
            "   filter 1, 2 instructions, of pids 7,9, set after filter 0\n"
            "      errno 1: any call not named here; 32-bit calls: kill process\n"
            "      allow: 2 calls\n"
            "         read write\n"
            "      allow or errno 1, by the arguments: 1 call\n"
            "         clone\n"
            "      0: A = call\n"
            "      1: return allow\n");
  EXPECT_EQ(filter_block(filter, {8}, 0, Style{}),
            "   filter 1, 2 instructions, of pid 8, set after filter 0: the program of filter 0\n");
}

TEST(ReportKernel, UnlikeTheSpecification) {
  const struct {
    const char* name;
    std::vector<std::string> args, argv, spec, environ;
    std::string line;
  } cases[] = {
      {"alike", {"/a", "b"}, {"/a", "b"}, {"A=1"}, {"A=1"}, ""},
      {"the runtime's HOME", {"/a"}, {"/a"}, {"A=1"}, {"A=1", "HOME=/root"}, ""},
      {"a script and its interpreter", {"/run.sh", "x"}, {"/bin/sh", "/usr/run.sh", "x"}, {}, {}, ""},
      {"another program behind it",
       {"/run.sh"},
       {"/usr/bin/python3", "-c", "x"},
       {},
       {},
       "unlike    its specification: arguments\n"},
      {"another program", {"/a"}, {"/b"}, {}, {}, "unlike    its specification: arguments\n"},
      {"no arguments were read", {"/a"}, {}, {"A=1"}, {}, ""},
      {"no specification", {}, {"/b"}, {}, {"B=1"}, ""},
      {"variables",
       {"/a"},
       {"/a"},
       {"A=1", "GONE=1"},
       {"A=2", "LD_PRELOAD=/x"},
       "unlike    its specification: environment +LD_PRELOAD ~A -GONE\n"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Container container;
    container.args = bytes(c.args);
    container.environ = bytes(c.spec);
    Process init;
    init.pid = 1;
    init.argv = bytes(c.argv);
    init.environ = bytes(c.environ);
    EXPECT_EQ(difference_line(against_spec(container, init)), c.line);
  }
}

}  // namespace
}  // namespace ctriage::report
