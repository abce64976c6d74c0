#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/source/selftest.h"

namespace ctriage::source {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Selftest, MissingCapabilities) {
  EXPECT_THAT(missing_capabilities(UINT64_MAX), IsEmpty());
  EXPECT_EQ(missing_capabilities(0).size(), 6U);
  EXPECT_THAT(missing_capabilities(~(std::uint64_t{1} << 19 | std::uint64_t{1} << 34)),
              ElementsAre("CAP_SYS_PTRACE", "CAP_SYSLOG"));
}

TEST(Selftest, Yama) {
  const struct {
    Result<std::string> scope;
    bool may_ptrace;
    Ability ability;
    const char* found;
  } cases[] = {{Error{Errc::not_found, "none"}, false, Ability::works, "not there"},
               {Error{Errc::denied, "refused"}, true, Ability::limited, "refused"},
               {std::string("0\n"), false, Ability::works, "ptrace_scope 0"},
               {std::string("1\n"), true, Ability::works, "ptrace_scope 1"},
               {std::string("1\n"), false, Ability::limited, "ptrace_scope 1"},
               {std::string("3\n"), true, Ability::missing, "ptrace_scope 3: nobody may"},
               {std::string(""), true, Ability::limited, "no number"}};
  for (const auto& c : cases) {
    const SelftestCheck check = check_yama(c.scope, c.may_ptrace);
    SCOPED_TRACE(check.found.raw);
    EXPECT_EQ(check.ability, c.ability);
    EXPECT_THAT(check.found.raw, HasSubstr(c.found));
    EXPECT_EQ(check.without.empty(), c.ability == Ability::works);
  }
}

Mount mount(const char* type, const char* point, const char* options, const char* super) {
  Mount made;
  made.fstype = Bytes(type);
  made.root = Bytes("/");
  made.mountpoint = Bytes(point);
  made.options = Bytes(options);
  made.super_options = Bytes(super);
  return made;
}

TEST(Selftest, Freezer) {
  const Mount v1 = mount("cgroup", "/c/freezer", "rw,relatime", "rw,freezer");
  const Mount v2 = mount("cgroup2", "/c/unified", "ro,nosuid", "rw");
  const Mount other = mount("cgroup", "/c/memory", "rw", "rw,memory");
  const auto only_v1 = [](const std::string&, proc::SwitchKind kind) -> Status {
    if (kind == proc::SwitchKind::cgroup_v1) return Done{};
    return Error{Errc::denied, "Read-only file system"};
  };
  EXPECT_EQ(check_freezer({}, only_v1).ability, Ability::missing);
  EXPECT_EQ(check_freezer({other}, only_v1).ability, Ability::missing);
  EXPECT_EQ(check_freezer({v2, other}, only_v1).ability, Ability::limited);
  const SelftestCheck both = check_freezer({other, v1, v2}, only_v1);
  EXPECT_EQ(both.ability, Ability::works);
  EXPECT_THAT(both.found.raw, HasSubstr("v1 at /c/freezer, v2 at /c/unified (Read-only file system)"));
}

}  // namespace
}  // namespace ctriage::source
