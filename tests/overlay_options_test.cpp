#include <gtest/gtest.h>

#include <algorithm>
#include <map>

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

TEST(FuseArguments, AsEnginesGiveThem) {
  const struct {
    const char* name;
    std::vector<std::string> arguments;
    bool ok;
    std::string upper{};
    std::vector<std::string> lowers{};
    std::string target{};
  } cases[] = {
      {"containers/storage",
       {"/usr/bin/fuse-overlayfs", "-o",
        ",lowerdir=/g/l/B:/g/l/A,upperdir=/g/x/diff,workdir=/g/x/work,volatile", "/g/x/merged", ""},
       true,
       "/g/x/diff",
       {"/g/l/B", "/g/l/A"},
       "/g/x/merged"},
      {"relative, in one word",
       {"f", "-olowerdir=l/B,upperdir=x/diff", "x/merged"},
       true,
       "x/diff",
       {"l/B"},
       "x/merged"},
      {"mount.fuse3 gives the source too",
       {"f", "overlay", "/m", "-o", "lowerdir=/a", "-o", "upperdir=/u"},
       true,
       "/u",
       {"/a"},
       "/m"},
      {"escapes",
       {"f", "-o", "lowerdir=/a\\,b:/c\\054d,upperdir=/u\\\\v", "/m"},
       true,
       "/u\\v",
       {"/a,b", "/c,d"},
       "/m"},
      {"the last one counts",
       {"f", "-o", "upperdir=/1,upperdir=/2,lowerdir=/x,lowerdir=/a", "/m"},
       true,
       "/2",
       {"/a"},
       "/m"},
      {"no upper", {"f", "-o", "lowerdir=/a", "/m"}, true, "", {"/a"}, "/m"},
      {"a plugin's", {"f", "-o", "lowerdir=//plugin/x/y", "/m"}, false},
      {"an empty path", {"f", "-o", "lowerdir=/a::/b", "/m"}, false},
      {"an empty upper", {"f", "-o", "lowerdir=/a,upperdir=", "/m"}, false},
      {"no lower", {"f", "-o", "upperdir=/u", "/m"}, false},
      {"no mount point", {"f", "-o", "lowerdir=/a"}, false},
      {"cut", {"f", "/m", "-o"}, false},
      {"nothing", {}, false},
      {"a NUL", {"f", "-o", "lowerdir=/a\\000b", "/m"}, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto mount = parse_fuse_arguments(c.arguments);
    ASSERT_EQ(mount.has_value(), c.ok);
    if (!mount) continue;
    EXPECT_TRUE(mount->options.fuse);
    EXPECT_EQ(mount->options.upper, c.upper);
    EXPECT_EQ(mount->options.lowers, c.lowers);
    EXPECT_EQ(mount->target, c.target);
  }
  std::string many = "lowerdir=/a";
  for (int i = 0; i < 512; ++i) many += ":/a";
  EXPECT_EQ(parse_fuse_arguments(std::vector<std::string>{"f", "-o", many, "/m"}).error().code, Errc::limit);
}

TEST(Owners, IdMap) {
  const auto map =
      parse_id_map("         0     100000      65536\n     65536 4294967295          1\n").value();
  EXPECT_TRUE(map.changes_ids());
  const std::map<std::uint32_t, std::uint32_t> want{
      {0, 100'000}, {65'535, 165'535}, {65'536, UINT32_MAX}, {65'537, kNobody}, {UINT32_MAX, kNobody}};
  for (const auto& [inside, outside] : want) EXPECT_EQ(map.outside(inside), outside) << inside;
  EXPECT_FALSE(parse_id_map("0 0 4294967295\n").value().changes_ids());
  EXPECT_EQ(parse_id_map("").value().outside(7), 7U);
  for (const char* text : {"0", "0 1", "0 1 x", "0 1 2 3", "-1 0 1", "0 4294967296 1"})
    EXPECT_FALSE(parse_id_map(text)) << text;
  std::string many;
  for (int i = 0; i < 341; ++i) many += "0 1 2\n";
  EXPECT_FALSE(parse_id_map(many));
}

TEST(Owners, Override) {
  const struct {
    const char* name;
    std::string value;
    std::uint32_t uid;
    std::uint32_t mode;
  } cases[] = {
      {"whole", "7:8:100600", 7, 0100600},      {"with a type", "7:8:644:file", 7, 0100644},
      {"setuid", "0:0:4755", 0, 0104755},       {"cut", "7:8", 1, 0100777},
      {"no number", "x:8:600", 1, 0100777},     {"no octal", "7:8:689", 1, 0100777},
      {"too long", "7:8:77777777", 1, 0100777}, {"empty", "", 1, 0100777},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    FileInfo info;
    info.uid = 1;
    info.mode = 0100777;
    const std::vector<Xattr> xattrs{{"user.fuseoverlayfs.override_stat", c.value, {}}};
    Owners owners;
    apply(owners, xattrs, info);
    EXPECT_EQ(info.uid, 1U);  // the layer does not say that it keeps them there
    owners.override_xattr = find_override(xattrs);
    apply(owners, xattrs, info);
    EXPECT_EQ(info.uid, c.uid);
    EXPECT_EQ(info.mode, c.mode);
  }
}

}  // namespace
}  // namespace ctriage::overlay
