// A database written here byte by byte as the format says, and cut, bent and looped; a real one is in
// tests/integration.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "lib/runtime/bolt.h"
#include "tests/bolt_writer.h"

namespace ctriage::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using namespace bolt_writer;

Bolt::ReadAt reader(const std::string& bytes) {
  return [&bytes](std::span<std::byte> into, std::uint64_t offset) -> Result<std::size_t> {
    if (offset >= bytes.size()) return std::size_t{0};
    const std::size_t count = std::min(into.size(), bytes.size() - static_cast<std::size_t>(offset));
    std::memcpy(into.data(), bytes.data() + offset, count);
    return count;
  };
}

// "a=1 b/c=2": buckets below each other.
Status print(Bolt& bolt, const Bolt::Bucket& in, const std::string& prefix, std::vector<std::string>& into) {
  return bolt.list(in, [&](const Bolt::Entry& entry) -> Status {
    const std::string name = prefix + std::string(entry.key);
    if (entry.bucket) return print(bolt, *entry.bucket, name + "/", into);
    into.push_back(name + "=" + std::string(entry.value));
    return Done{};
  });
}

Result<std::vector<std::string>> read_all(const std::string& bytes) {
  auto bolt = Bolt::open(reader(bytes));
  if (!bolt) return std::move(bolt).error();
  std::vector<std::string> all;
  if (auto printed = print(*bolt, bolt->root(), "", all); !printed) return std::move(printed).error();
  return all;
}

const std::string kLarge(2 * kPage, 'x');

// Pages: 2 free, 3 root, 4 and 5 leaves of branch 6, 7-9 a large value.
std::string sample() {
  return file({meta(0, 3, 10, 7), meta(1, 9, 10, 6), header(2, 16, 0),
               leaf(3, {{"inline", bucket(0, leaf(0, {{"k", "v"}, {"none", ""}})), true},
                        {"large", bucket(7), true},
                        {"tree", bucket(6), true}}),
               leaf(4, {{"a", "1"}, {"b", "2"}}), leaf(5, {{"c", "3"}}), branch(6, {4, 5}),
               leaf(7, {{"big", kLarge}}, 2)});
}

TEST(Bolt, AllShapesOfBuckets) {
  const auto all = read_all(sample());
  ASSERT_TRUE(all) << all.error().what;
  EXPECT_THAT(*all, ElementsAre("inline/k=v", "inline/none=", "large/big=" + kLarge, "tree/a=1", "tree/b=2",
                                "tree/c=3"));
}

TEST(Bolt, Finds) {
  const std::string bytes = sample();
  auto bolt = Bolt::open(reader(bytes));
  ASSERT_TRUE(bolt);
  EXPECT_EQ(bolt->transaction(), 7U);
  const auto tree = bolt->find_bucket(bolt->root(), "tree");
  ASSERT_TRUE(tree && *tree);
  EXPECT_EQ(bolt->find_value(**tree, "b").value(), "2");
  EXPECT_EQ(bolt->find_value(**tree, "x").value(), std::nullopt);
  EXPECT_EQ(bolt->find_value(bolt->root(), "tree").value(), std::nullopt) << "a bucket is no value";
  EXPECT_FALSE(bolt->find_bucket(**tree, "a").value());
}

TEST(Bolt, EveryPrefix) {
  const std::string whole = sample();
  for (std::size_t size = 0; size < whole.size(); size += 13) {
    const auto all = read_all(whole.substr(0, size));
    EXPECT_FALSE(all) << size;
  }
}

TEST(Bolt, EveryByteFlipped) {
  const std::string whole = sample();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bent = whole;
    bent[at] = static_cast<char>(~bent[at]);
    (void)read_all(bent).has_value();  // an answer or an error, and nothing outside of the page
  }
}

TEST(Bolt, TheNewerValidMetaPageCounts) {
  const std::string old_leaf = leaf(2, {{"old", "1"}});
  const std::string new_leaf = leaf(3, {{"new", "2"}});
  std::string bytes = file({meta(0, 2, 4, 8), meta(1, 3, 4, 9), old_leaf, new_leaf});
  EXPECT_THAT(read_all(bytes).value(), ElementsAre("new=2"));
  bytes[kPage + 70] ^= 1;  // its checksum no longer holds: a write that was cut short
  EXPECT_THAT(read_all(bytes).value(), ElementsAre("old=1"));
  bytes[70] ^= 1;
  const auto none = read_all(bytes);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("no valid meta page"));
  // Page 0 is gone: page 1 is found by trying.
  bytes = file({std::string(8, 'x'), meta(1, 3, 4, 9), old_leaf, new_leaf});
  EXPECT_THAT(read_all(bytes).value(), ElementsAre("new=2"));
}

TEST(Bolt, Hostile) {
  const auto with_root = [](const std::string& page) { return file({meta(0, 3, 5, 1), "", "", page, page}); };
  std::string out_of_page = leaf(3, {{"k", "v"}});
  std::string long_key = out_of_page;
  std::string many = out_of_page;
  poke(out_of_page, 20, std::uint32_t{0xFFFFFFF0});
  poke(long_key, 24, std::uint32_t{0xFFFFFFFF});
  poke(many, 10, std::uint16_t{0xFFFF});
  const struct {
    const char* what;
    std::string bytes;
    Errc code;
    const char* error;
  } cases[] = {
      {"empty", "", Errc::malformed, "no valid meta"},
      {"a page that is its own child", with_root(branch(3, {3})), Errc::limit, "32 levels"},
      {"two children, each its own parent", with_root(branch(3, {3, 3})), Errc::limit, "32 levels"},
      {"a child beyond the high water", with_root(branch(3, {5})), Errc::malformed, "none of its pages"},
      {"a child of 2^64-1", with_root(branch(3, {UINT64_MAX})), Errc::malformed, "none of its pages"},
      {"a meta page as child", with_root(branch(3, {0})), Errc::malformed, "none of its pages"},
      {"another page's number", with_root(leaf(9, {})), Errc::malformed, "says it is page 9"},
      {"a meta page as root", file({meta(0, 1, 5, 1)}), Errc::malformed, "root is a meta page"},
      {"a free list as root", with_root(header(3, 16, 0)), Errc::malformed, "neither branch nor leaf"},
      {"more elements than fit", with_root(many), Errc::malformed, "room for less"},
      {"a key out of the page", with_root(out_of_page), Errc::malformed, "out of its page"},
      {"a key of 4 GiB", with_root(long_key), Errc::malformed, "out of its page"},
      {"overflow past the end", with_root(leaf(3, {}, 7)), Errc::malformed, "overflows the file"},
      {"overflow of 4 GiB", file({meta(0, 3, UINT64_MAX, 1), "", "", leaf(3, {}, UINT32_MAX)}), Errc::limit,
       "larger than 32 MiB"},
      {"a bucket of 3 bytes", with_root(leaf(3, {{"b", "abc", true}})), Errc::truncated, "bolt bucket"},
      {"an inline branch", with_root(leaf(3, {{"b", bucket(0, branch(0, {4})), true}})), Errc::malformed,
       "inline page"},
      {"an inline page of nothing", with_root(leaf(3, {{"b", bucket(0), true}})), Errc::truncated,
       "bolt page"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    // The pages that `file` left empty are no meta pages; the last is a copy with the wrong number.
    const auto all = read_all(c.bytes);
    ASSERT_FALSE(all);
    EXPECT_EQ(all.error().code, c.code) << all.error().what;
    EXPECT_THAT(all.error().what, HasSubstr(c.error));
  }
}

// Wide and deep with shared children: 30 levels of two equal children would be a billion leaves.
TEST(Bolt, SharedChildrenEnd) {
  std::vector<std::string> pages{meta(0, 3, 40, 1), std::string(kPage, '\0'), std::string(kPage, '\0')};
  for (std::uint64_t id = 3; id < 33; ++id) {
    std::vector<std::uint64_t> children(30, id + 1);
    pages.push_back(branch(id, children));
  }
  pages.push_back(leaf(33, {{"k", "v"}}));
  const std::string bytes = file(pages);
  std::size_t taken = 0;
  auto bolt = Bolt::open(reader(bytes));
  ASSERT_TRUE(bolt);
  const auto listed = bolt->list(bolt->root(), [&](const Bolt::Entry&) -> Status {
    ++taken;
    return Done{};
  });
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code, Errc::limit);
  EXPECT_THAT(listed.error().what, HasSubstr("1 GiB"));
  EXPECT_GT(taken, 0U);
}

// Page 4 is free now: nothing leads to it. Page 5 was free and is in use as something else.
TEST(Bolt, ScansWhatNothingLeadsTo) {
  const std::string bytes =
      file({meta(0, 3, 8, 7), meta(1, 3, 8, 6), header(2, 16, 0), leaf(3, {{"now", "1"}}),
            leaf(4, {{"was", "2"}, {"too", "3"}}), leaf(9, {{"no", "4"}}),
            leaf(6, {{"cut", "5"}}).substr(0, 20), branch(7, {3})});
  auto bolt = Bolt::open(reader(bytes));
  ASSERT_TRUE(bolt);
  std::vector<std::string> pages;
  const auto scanned = bolt->scan([&](std::span<const Bolt::Entry> entries) -> Status {
    std::string page;
    for (const Bolt::Entry& entry : entries)
      page += std::string(entry.key) + "=" + std::string(entry.value) + " ";
    pages.push_back(page);
    return Done{};
  });
  EXPECT_TRUE(scanned);
  EXPECT_THAT(pages, ElementsAre("now=1 ", "was=2 too=3 ", "= "));
}

TEST(Bolt, WrittenToMeanwhile) {
  std::string bytes = sample();
  auto bolt = Bolt::open(reader(bytes));
  ASSERT_TRUE(bolt);
  EXPECT_TRUE(bolt->is_unchanged());
  const std::string next = meta(1, 3, 10, 8);
  bytes.replace(kPage, next.size(), next);
  const auto changed = bolt->is_unchanged();
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Errc::mismatch);
}

}  // namespace
}  // namespace ctriage::runtime
