#include <gtest/gtest.h>

#include "lib/memory/finder.h"
#include "lib/memory/plan.h"
#include "lib/memory/registers.h"

namespace ctriage::memory {
namespace {

Region region_of(std::string_view protection, std::uint64_t inode, proc::VmFlags flags = {}) {
  Region region;
  region.start = 0x10000;
  region.end = 0x20000;
  region.inode = inode;
  std::copy_n(protection.begin(), 4, region.protection.begin());
  region.flags = flags;
  return region;
}

std::string text_of(const Choice& choice) {
  if (choice.take == Take::all) return "all";
  if (choice.take == Take::changed) return "changed";
  return std::string(to_text(choice.left));
}

// Research, table of mappings and what is taken of them.
TEST(MemoryPolicy, Table) {
  proc::VmFlags io;
  io.io = true;
  proc::VmFlags pfn;
  pfn.pfn = true;
  proc::VmFlags mixed;
  mixed.mixed = true;
  proc::VmFlags huge;
  huge.huge = true;
  const struct {
    const char* protection;
    std::uint64_t inode;
    const char* path;
    proc::VmFlags flags;
    bool in_memory;
    const char* changed;
    const char* all;
    const char* none;
  } cases[] = {
      {"rw-p", 0, "", {}, false, "all", "all", "all"},
      {"---p", 0, "", {}, false, "all", "all", "all"},
      {"rw-p", 0, "[heap]", {}, false, "all", "all", "all"},
      {"rw-p", 0, "[anon:/etc/passwd]", {}, false, "all", "all", "all"},
      {"r-xp", 0, "[vdso]", {}, false, "all", "all", "all"},
      {"r--p", 0, "[vvar]", pfn, false, "device", "device", "device"},
      {"r--p", 0, "[vvar_vclock]", {}, false, "device", "device", "device"},
      {"--xp", 0, "[vsyscall]", {}, false, "device", "device", "device"},
      {"rw-s", 9, "/dev/nvidia0", io, false, "device", "device", "device"},
      {"rw-s", 9, "/dev/dri/card0", mixed, false, "device", "device", "device"},
      {"rw-s", 9, "socket:[77]", mixed, false, "all", "all", "all"},
      {"rw-s", 9, "anon_inode:[io_uring]", mixed, false, "all", "all", "all"},
      {"rw-s", 9, "/memfd:x (deleted)", {}, false, "all", "all", "all"},
      {"rw-s", 9, "/SYSV00000000 (deleted)", {}, false, "all", "all", "all"},
      {"rw-s", 9, "/dev/zero (deleted)", {}, false, "all", "all", "all"},
      {"r-xp", 9, "/tmp/x (deleted)", {}, false, "all", "all", "all"},
      {"rw-s", 9, "/dev/shm/x", {}, true, "all", "all", "all"},
      {"rw-s", 9, "/dev/shm/x", {}, false, "file", "all", "file"},
      {"rw-s", 9, "/hugepages/x", huge, false, "all", "all", "all"},
      {"rw-s", 9, "/secretmem (deleted)", {}, false, "all", "all", "all"},
      {"r-xp", 9, "/secretmem.so", {}, false, "changed", "all", "file"},
      {"r-xp", 9, "/usr/bin/x", {}, false, "changed", "all", "file"},
      {"rw-p", 9, "/usr/bin/x", {}, false, "changed", "all", "file"},
      {"rw-s", 9, "/var/lib/db", {}, false, "file", "all", "file"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    const Region region = region_of(c.protection, c.inode, c.flags);
    EXPECT_EQ(text_of(choose(region, c.path, c.in_memory, FilePages::changed)), c.changed);
    EXPECT_EQ(text_of(choose(region, c.path, c.in_memory, FilePages::all)), c.all);
    EXPECT_EQ(text_of(choose(region, c.path, c.in_memory, FilePages::none)), c.none);
  }
}

TEST(MemoryPlan, SegmentsCoverEveryMapping) {
  Plan plan;
  plan.paths = {""};
  plan.regions = {region_of("rw-p", 0), region_of("---p", 0), region_of("r--s", 3)};
  for (std::size_t i = 0; i < 3; ++i) {
    plan.regions[i].start = 0x100000 * (i + 1);
    plan.regions[i].end = plan.regions[i].start + 0x8000;
  }
  plan.runs = {{0x100000, 0x102000, 0, 0, PageState::data, true},
               {0x102000, 0x103000, 0, 0, PageState::zero, true},
               {0x104000, 0x105000, 0, 0, PageState::data, true},
               {0x203000, 0x208000, 1, 0, PageState::data, true},
               {0x301000, 0x302000, 2, 7, PageState::shared, true}};
  std::string text;
  plan.each_segment([&](const elf::Segment& segment) {
    text += std::to_string(segment.start / 0x1000) + "+" + std::to_string(segment.size_bytes / 0x1000) +
            (segment.has_data ? "d" : "h") + (segment.readable ? "r" : "-") +
            (segment.writable ? "w " : "- ");
  });
  EXPECT_EQ(text, "256+2drw 258+2hrw 260+1drw 261+3hrw 512+3h-- 515+5d-- 768+8hr- ");
}

std::string text_of(const std::vector<SharedPages::Part>& parts) {
  std::string text;
  for (const auto& part : parts) {
    text +=
        std::to_string(part.start) + "-" + std::to_string(part.end) + ":" + std::to_string(part.pid) + " ";
  }
  return text;
}

TEST(MemoryPlan, SharedPagesAreTakenOnce) {
  SharedPages shared;
  EXPECT_EQ(text_of(shared.claim(1, 2, 10, 20, 100)), "10-20:0 ");
  EXPECT_EQ(text_of(shared.claim(1, 3, 10, 20, 101)), "10-20:0 ");  // another object
  EXPECT_EQ(text_of(shared.claim(1, 2, 5, 30, 101)), "5-10:0 10-20:100 20-30:0 ");
  EXPECT_EQ(text_of(shared.claim(1, 2, 0, 40, 102)), "0-5:0 5-10:101 10-20:100 20-30:101 30-40:0 ");
  EXPECT_EQ(text_of(shared.claim(1, 2, 12, 13, 103)), "12-13:100 ");
  EXPECT_EQ(text_of(shared.claim(1, 2, 40, 41, 102)), "40-41:0 ");
  EXPECT_EQ(text_of(shared.claim(1, 2, 0, 50, 104)),
            "0-5:102 5-10:101 10-20:100 20-30:101 30-41:102 41-50:0 ");
}

TEST(MemoryPlan, WhatAProcessLostIsTakenFromTheNext) {
  SharedPages shared;
  shared.claim(1, 2, 10, 20, 100);
  shared.claim(1, 2, 10, 30, 101);
  shared.claim(1, 3, 10, 20, 100);
  shared.forget(100);
  EXPECT_EQ(text_of(shared.claim(1, 2, 10, 30, 102)), "10-20:0 20-30:101 ");
  EXPECT_EQ(text_of(shared.claim(1, 3, 10, 20, 102)), "10-20:0 ");
}

TEST(MemoryPlan, SharedPagesBeyondTheLimitAreEveryonesOwn) {
  SharedPages shared;
  for (std::size_t i = 0; i < kMaxSharedParts; ++i) shared.claim(1, 2, 2 * i, 2 * i + 1, 100);
  const std::uint64_t last = 2 * kMaxSharedParts;
  for (const int pid : {101, 102}) {
    EXPECT_EQ(text_of(shared.claim(1, 3, 0, 1, pid)), "0-1:0 ");
    EXPECT_EQ(text_of(shared.claim(1, 2, last - 2, last + 1, pid)),
              std::to_string(last - 2) + "-" + std::to_string(last - 1) + ":100 " + std::to_string(last - 1) +
                  "-" + std::to_string(last + 1) + ":0 ");
  }
  shared.forget(100);
  shared.claim(1, 3, 0, 1, 101);
  EXPECT_EQ(text_of(shared.claim(1, 3, 0, 1, 102)), "0-1:101 ");
}

TEST(MemoryPlan, OfAMappingThatOverlapsTheRestStays) {
  Region region = region_of("rw-s", 9);
  region.offset_bytes = 0x4000;
  EXPECT_FALSE(begin_at(0x20000, region));
  EXPECT_TRUE(begin_at(0x10000, region));
  EXPECT_EQ(region.start, 0x10000U);
  EXPECT_TRUE(begin_at(0x18000, region));
  EXPECT_EQ(region.start, 0x18000U);
  EXPECT_EQ(region.end, 0x20000U);
  EXPECT_EQ(region.offset_bytes, 0xc000U);
}

constexpr std::uint64_t kPage = 4096;

// Mapping 0 for many runs, mapping 1 behind it, of one page.
Plan plan_of(std::uint64_t bytes) {
  Plan plan;
  plan.paths = {""};
  plan.regions = {region_of("rw-p", 0), region_of("rw-p", 0)};
  plan.regions[0].start = 1 << 20;
  plan.regions[0].end = plan.regions[1].start = (1 << 20) + bytes;
  plan.regions[1].end = plan.regions[1].start + kPage;
  plan.choices.resize(2);
  return plan;
}

std::uint64_t bytes_of(const Plan& plan, PageState state) {
  std::uint64_t bytes = 0;
  for (const Run& run : plan.runs)
    if (run.state == state) bytes += run.end - run.start;
  return bytes;
}

std::string texts_of(const GapLog& gaps) {
  std::string text;
  for (const Gap& gap : gaps.kept()) text += std::string(to_text(gap.impact)) + ": " + gap.error.what + "\n";
  return text;
}

TEST(MemoryFinder, NearRunsBecomeOne) {
  Plan plan = plan_of(kMaxRuns * 2 * kPage);
  const PlanOptions options;
  Finder finder(plan, options, 1);
  for (std::size_t i = 0; i < kMaxRuns; ++i) {
    const std::uint64_t at = plan.regions[0].start + i * 2 * kPage;
    finder.take(0, {at, at + kPage, {}});
  }
  EXPECT_LT(plan.runs.size(), 10U);
  EXPECT_FALSE(plan.runs.front().exact);
  EXPECT_EQ(bytes_of(plan, PageState::data), (kMaxRuns * 2 - 1) * kPage);
  EXPECT_EQ(plan.left_out_bytes(), 0U);
  GapLog gaps;
  finder.tell(gaps);
  EXPECT_EQ(gaps.count(Impact::note), 1U);
  EXPECT_EQ(gaps.count(Impact::lost), 0U);
}

// Terabytes of zero pages, pages in swap and holes are not read for the few pages between them.
TEST(MemoryFinder, WhatIsNoDataDoesNotBecomeData) {
  constexpr std::uint64_t kStep = 64 << 20;
  proc::PageFlags zero;
  zero.zero = true;
  proc::PageFlags swapped;
  swapped.swapped = true;
  for (const auto& between : {zero, swapped}) {
    Plan plan = plan_of(kMaxRuns * kStep);
    const PlanOptions options;
    Finder finder(plan, options, 1);
    for (std::size_t i = 0; i < kMaxRuns; ++i) {
      const std::uint64_t at = plan.regions[0].start + i * kStep;
      finder.take(0, {at, at + kPage, {}});
      finder.take(0, {at + kPage, at + kStep, between});
    }
    finder.take(1, {plan.regions[1].start, plan.regions[1].end, {}});
    EXPECT_LT(plan.runs.size(), kMaxRuns);
    EXPECT_EQ(plan.runs.back().region, 1U);  // it is not cut for what the other has
    const std::uint64_t had = bytes_of(plan, PageState::data);
    EXPECT_EQ(had + plan.left_out_bytes(), (kMaxRuns + 1) * kPage);
    EXPECT_GT(had, 10'000 * kPage);
    EXPECT_FALSE(plan.cut.contains(1));
    GapLog gaps;
    finder.tell(gaps);
    EXPECT_EQ(gaps.count(Impact::lost), plan.left_out_bytes() > 0 ? 1U : 0U) << texts_of(gaps);
    EXPECT_EQ(gaps.count(Impact::degraded), between == swapped ? 1U : 0U) << texts_of(gaps);
  }
}

TEST(MemoryFinder, TheZerosBetweenHaveALimit) {
  constexpr std::uint64_t kStep = 512 << 10;
  Plan plan = plan_of(kMaxRuns * kStep);
  const PlanOptions options;
  Finder finder(plan, options, 1);
  for (std::size_t i = 0; i < kMaxRuns; ++i) {
    const std::uint64_t at = plan.regions[0].start + i * kStep;
    finder.take(0, {at, at + kPage, {}});
  }
  EXPECT_LE(plan.runs.size(), kMaxRuns);
  EXPECT_LE(bytes_of(plan, PageState::data), kMaxAddedBytes + kMaxRuns * kPage);
  EXPECT_GT(plan.left_out_bytes(), 0U);
  GapLog gaps;
  finder.tell(gaps);
  EXPECT_EQ(gaps.count(Impact::lost), 1U);
}

TEST(MemoryRegisters, WhatAThreadThatWaitsTells) {
  const auto in_call = parse_call("202 0x7f01 0x80 0x0 0x0 0x0 0xffffffffffffffff 0x7ffd10 0x7f0209\n");
  ASSERT_TRUE(in_call);
  EXPECT_EQ(in_call->number, 202U);
  EXPECT_EQ(in_call->arguments[0], 0x7f01U);
  EXPECT_EQ(in_call->arguments[5], UINT64_MAX);
  EXPECT_EQ(in_call->stack_pointer, 0x7ffd10U);
  EXPECT_EQ(in_call->instruction_pointer, 0x7f0209U);
  const auto outside = parse_call("-1 0x7ffd10 0x7f0209");
  ASSERT_TRUE(outside);
  EXPECT_FALSE(outside->number);
  EXPECT_EQ(outside->stack_pointer, 0x7ffd10U);
  for (const char* nothing : {"", "running", "running\n", "0 0x1 0x2", "-1 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
                              "202 0x1", "202 1 2 3 4 5 6 7 8", "x 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
                              "1 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x11111111111111111"}) {
    EXPECT_FALSE(parse_call(nothing)) << nothing;
  }
}

}  // namespace
}  // namespace ctriage::memory
