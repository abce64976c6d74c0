#include <gtest/gtest.h>

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {
namespace {

using Paths = std::vector<std::string>;

TEST(OverlayOptions, Table) {
  // The first six as Linux 6.18 printed them.
  const struct {
    const char* name;
    const char* raw;
    std::string upper;
    Paths lowers;
    Paths data_only;
    Paths flags;
  } cases[] = {
      {"escapes of both levels",
       R"(rw,lowerdir=l1:l\134:2:l\134\0543,upperdir=u:p,workdir=w\040k\134\054x,uuid=on)",
       "u:p",
       {"l1", "l:2", "l,3"},
       {},
       {"rw", "uuid=on"}},
      {"backslash in a path",
       R"(rw,lowerdir=l1,upperdir=u\134\134\134:q,workdir=w)",
       R"(u\:q)",
       {"l1"},
       {},
       {"rw"}},
      {"containerd, short form",
       "rw,lowerdir=95/fs:94/fs,upperdir=/s/96/fs,workdir=/s/96/work,index=off",
       "/s/96/fs",
       {"95/fs", "94/fs"},
       {},
       {"rw", "index=off"}},
      {"one option per layer",
       R"(rw,lowerdir+=/a:b\134c,lowerdir+=/d\054e,datadir+=/x:y,upperdir=/u,workdir=/w)",
       "/u",
       {R"(/a:b\c)", "/d,e"},
       {"/x:y"},
       {"rw"}},
      {"data-only",
       "ro,lowerdir=/a:/b::/c::/d,metacopy=on",
       "",
       {"/a", "/b"},
       {"/c", "/d"},
       {"ro", "metacopy=on"}},
      {"read-only", "ro,lowerdir=/a:/b", "", {"/a", "/b"}, {}, {"ro"}},
      {"empty options", ",,lowerdir=/a,,", "", {"/a"}, {}, {}},
      {"not an escape", R"(lowerdir=/a\13,x=\9)", "", {"/a13"}, {}, {R"(x=\9)"}},
      {"an octal over 255 is none", R"(lowerdir=/a,x=\777)", "", {"/a"}, {}, {R"(x=\777)"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto options = parse_options(c.raw);
    ASSERT_TRUE(options) << options.error().what;
    EXPECT_EQ(options->upper, c.upper);
    EXPECT_EQ(options->lowers, c.lowers);
    EXPECT_EQ(options->data_only, c.data_only);
    EXPECT_EQ(options->flags, c.flags);
    for (const auto& flag : c.flags) EXPECT_TRUE(options->has(flag));
    EXPECT_FALSE(options->has("userxattr"));
  }
}

TEST(OverlayOptions, Refused) {
  const struct {
    const char* name;
    std::string raw;
    Errc code;
  } cases[] = {
      {"nothing", "", Errc::unsupported},
      {"fuse-overlayfs", "rw,user_id=0,group_id=0,default_permissions,allow_other", Errc::unsupported},
      {"no lowerdir", "upperdir=/u,workdir=/w", Errc::unsupported},
      {"empty lowerdir", "lowerdir=", Errc::malformed},
      {"empty first", "lowerdir=:/a", Errc::malformed},
      {"empty last", "lowerdir=/a:", Errc::malformed},
      {"empty data-only", "lowerdir=/a::", Errc::malformed},
      {"three colons", "lowerdir=/a:::/b", Errc::malformed},
      {"empty upperdir", "lowerdir=/a,upperdir=", Errc::malformed},
      {"two upperdirs", "lowerdir=/a,upperdir=/u,upperdir=/v", Errc::malformed},
      {"empty lowerdir+", "lowerdir+=,upperdir=/u", Errc::malformed},
      {"ends in a backslash", R"(lowerdir=/a\134)", Errc::malformed},
      {"NUL", R"(lowerdir=/a\000b)", Errc::malformed},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto options = parse_options(c.raw);
    ASSERT_FALSE(options);
    EXPECT_EQ(options.error().code, c.code) << options.error().what;
  }
}

TEST(OverlayOptions, LayerLimit) {
  std::string most = "lowerdir=/0";
  for (std::size_t i = 1; i < kMaxLayers; ++i) most += ":/" + std::to_string(i);
  auto fits = parse_options(most);
  ASSERT_TRUE(fits);
  EXPECT_EQ(fits->lowers.size(), kMaxLayers);
  auto over = parse_options(most + ":/x");
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Errc::limit);
}

// Cut anywhere, it is either refused or holds the whole paths before the cut and at most one that is shorter.
TEST(OverlayOptions, EveryPrefix) {
  const std::string raw =
      R"(rw,lowerdir=/one\134:x:/two\040y::/three,lowerdir+=/four:z,upperdir=/up,workdir=/wk,index=off)";
  auto whole = parse_options(raw);
  ASSERT_TRUE(whole);
  for (std::size_t cut = 0; cut <= raw.size(); ++cut) {
    SCOPED_TRACE(cut);
    auto options = parse_options(std::string_view(raw).substr(0, cut));
    if (!options) {
      EXPECT_LT(cut, raw.size());
      continue;
    }
    ASSERT_LE(options->lowers.size(), whole->lowers.size());
    for (std::size_t i = 0; i + 1 < options->lowers.size(); ++i)
      EXPECT_EQ(options->lowers[i], whole->lowers[i]);
    EXPECT_TRUE(whole->upper.starts_with(options->upper));
  }
}

}  // namespace
}  // namespace ctriage::overlay
