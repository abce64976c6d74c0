// Whose memory is taken, and in which order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/collect/memory_choice.h"
#include "lib/collect/plan.h"

namespace ctriage::collect {
namespace {

MemoryMember member(std::int32_t pid, std::int32_t ppid, Origin origin = Origin::image,
                    Membership membership = Membership::child) {
  MemoryMember made;
  made.pid = pid;
  made.ppid = ppid;
  made.origin = origin;
  made.membership = membership;
  return made;
}

TEST(MemoryChoice, WhatIsSuspicious) {
  MemoryMember deleted = member(1, 0);
  deleted.deleted = true;
  MemoryMember code = member(1, 0);
  code.anonymous_code = true;
  MemoryMember library = member(1, 0);
  library.foreign_library = true;
  const struct {
    const char* name;
    MemoryMember member;
    const char* why;  // begins so; empty: nothing speaks against it
  } cases[] = {
      {"of the image", member(1, 0), ""},
      {"first process", member(1, 0, Origin::image, Membership::init), ""},
      {"layers that cannot be read", member(1, 0, Origin::unknown), ""},
      {"a process of the host alone", member(1, 0, Origin::host, Membership::alone), ""},
      {"upper", member(1, 0, Origin::upper), "runs a program that is not in the image (upper)"},
      {"tmpfs", member(1, 0, Origin::tmpfs), "runs a program that is not in the image (tmpfs)"},
      {"volume", member(1, 0, Origin::volume), "runs a program that is not in the image (volume)"},
      {"memfd", member(1, 0, Origin::memfd), "runs from memory"},
      {"deleted", member(1, 0, Origin::deleted), "runs a deleted program"},
      {"unlinked, of a known origin", deleted, "runs a deleted program"},
      {"of the node, inside", member(1, 0, Origin::host), "runs a program of the node"},
      {"entered", member(1, 0, Origin::image, Membership::entered), "came from outside"},
      {"executed in", member(1, 0, Origin::image, Membership::executed_in), "came from outside"},
      {"escaped", member(1, 0, Origin::image, Membership::escaped), "left the container"},
      {"code", code, "has executable memory"},
      {"library", library, "has mapped a library that is not in the image"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto why = suspicions({&c.member, 1});
    ASSERT_EQ(why.size(), 1U);
    EXPECT_THAT(why[0], ::testing::StartsWith(c.why));
    EXPECT_EQ(why[0].empty(), std::string_view(c.why).empty()) << why[0];
  }
}

TEST(MemoryChoice, ChildrenOfTheSuspiciousAreToo) {
  const MemoryMember members[] = {
      member(1, 0), member(2, 1, Origin::upper), member(3, 2), member(4, 3), member(5, 1), member(6, 7),
      member(7, 6)};
  const auto why = suspicions(members);
  EXPECT_EQ(why[0], "");
  EXPECT_EQ(why[2], "was started by pid 2");
  EXPECT_EQ(why[3], "was started by pid 3");
  EXPECT_EQ(why[4], "");
  EXPECT_EQ(why[5] + why[6], "");  // parents in a circle, read at different moments
  MemoryMember circle[] = {member(6, 7, Origin::memfd), member(7, 6)};
  EXPECT_EQ(suspicions(circle)[1], "was started by pid 6");
  EXPECT_TRUE(suspicions({}).empty());
}

TEST(MemoryChoice, AnonymousCode) {
  const struct {
    const char* protection;
    const char* path;
    std::uint64_t inode;
    bool is;
  } cases[] = {{"rwxp", "", 0, true},
               {"--xp", "[heap]", 0, true},
               {"r-xp", "[anon:jit]", 0, true},
               {"rw-p", "", 0, false},
               {"r-xp", "/usr/lib/libc.so.6", 7, false},
               {"r-xp", "/tmp/lib.so (deleted)", 7, true},
               {"r-xs", "/memfd:x (deleted)", 7, true},
               {"r-xs", "/dev/zero (deleted)", 7, true},
               {"r-xp", "[vdso]", 0, false},
               {"--xp", "[vsyscall]", 0, false},
               {"", "", 0, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.protection) + " " + c.path);
    Mapping mapping;
    mapping.protection = c.protection;
    mapping.path = Bytes(c.path);
    mapping.inode = Hex{c.inode};
    EXPECT_EQ(is_anonymous_code(mapping), c.is);
  }
}

TEST(MemoryChoice, Limits) {
  MemoryOptions options;
  options.each_bytes = 100;
  options.max_bytes = 250;
  const struct {
    std::uint64_t bytes;
    std::uint64_t taken;
    std::uint64_t room;
    const char* over;
  } cases[] = {{0, 0, 100, ""},
               {100, 0, 100, ""},
               {101, 0, 100, "--memory-each 100 B"},
               {100, 150, 100, ""},
               {100, 151, 99, "--memory-max 250 B"},
               {1, 250, 0, "--memory-max 250 B"},
               {0, 300, 0, ""},
               {UINT64_MAX, UINT64_MAX, 0, "--memory-each 100 B"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.bytes);
    EXPECT_EQ(room_for_one(options, c.taken), c.room);
    const auto over = over_limit(options, c.bytes, c.taken);
    EXPECT_EQ(over.has_value(), !std::string_view(c.over).empty());
    if (over) {
      EXPECT_THAT(*over, ::testing::HasSubstr(c.over));
      EXPECT_THAT(*over, ::testing::HasSubstr("--memory all"));
    }
  }
  options.mode = MemoryMode::all;
  EXPECT_FALSE(over_limit(options, UINT64_MAX, UINT64_MAX));
}

TEST(MemoryChoice, ResidentParts) {
  const auto parts = parse_resident(
      "Name:\tx\nVmRSS:\t    9000 kB\nRssAnon:\t     120 kB\nRssFile:\t    800 kB\nRssShmem:\t       8 "
      "kB\nVmSwap:\t 4 kB\n");
  EXPECT_EQ(parts.anonymous_bytes, 120U * 1024);
  EXPECT_EQ(parts.shared_bytes, 8U * 1024);
  EXPECT_EQ(parts.swapped_bytes, 4U * 1024);
  EXPECT_EQ(parse_resident("").anonymous_bytes, 0U);
  EXPECT_EQ(parse_resident("RssAnon:\nRssAnon: x kB\nRssAnon").anonymous_bytes, 0U);
  EXPECT_EQ(parse_resident("RssAnon: 18446744073709551615 kB").anonymous_bytes, UINT64_MAX / 1024 * 1024);
}

TEST(MemoryChoice, WhoseTurnItIs) {
  const std::vector<ResidentParts> in_order{{.anonymous_bytes = 1, .shared_bytes = 1},
                                            {.anonymous_bytes = 3},
                                            {.anonymous_bytes = 1, .swapped_bytes = 1},
                                            {.anonymous_bytes = 2, .swapped_bytes = 1}};
  EXPECT_TRUE(std::ranges::is_sorted(in_order, {}, turn_of));
  EXPECT_LT(turn_of(in_order[1]), turn_of(in_order[2]));
}

TEST(MemoryChoice, WhatIsLeftOut) {
  const auto left = [](std::vector<std::string> only, std::vector<std::string> skip, MemoryMode mode) {
    auto out = leave_out(only, skip, mode);
    return out ? *out : LeftOut{{"error", out.error().what}};
  };
  EXPECT_TRUE(left({}, {}, MemoryMode::automatic).empty());
  EXPECT_EQ(left({}, {}, MemoryMode::none),
            (LeftOut{{"suspicious_memory", "--memory none"}, {"other_memory", "--memory none"}}));
  EXPECT_EQ(left({}, {"memory"}, MemoryMode::all),
            (LeftOut{{"suspicious_memory", "--skip"}, {"other_memory", "--skip"}}));
  // Nothing can be told of memory without its processes and mappings.
  const auto only = left({"suspicious_memory"}, {}, MemoryMode::automatic);
  EXPECT_FALSE(only.contains("processes") || only.contains("mappings") || only.contains("suspicious_memory"));
  EXPECT_TRUE(only.contains("other_memory") && only.contains("threads") && only.contains("upper"));
  EXPECT_TRUE(left({"logs"}, {}, MemoryMode::automatic).contains("mappings"));
}

}  // namespace
}  // namespace ctriage::collect
