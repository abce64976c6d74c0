// What the scanner finds in blocks, with Vectorscan and without, is what RE2 finds at each place of a whole
// run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <atomic>
#include <random>
#include <set>

#include "lib/search/scanner.h"
#include "lib/search/strings.h"

namespace ctriage::search {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct ScanTask {
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
};

struct PageBytes {
  std::uint64_t address = 0;
  std::string bytes;
};

struct Seen {
  std::string pattern;
  std::uint64_t address = 0;
  std::string bytes;
  auto operator<=>(const Seen&) const = default;
};
void PrintTo(const Seen& seen, std::ostream* out) {
  *out << seen.pattern << " at " << std::hex << seen.address << " " << std::dec << seen.bytes.size() << " "
       << testing::PrintToString(seen.bytes.substr(0, 40));
}

std::vector<Pattern> patterns_of(const std::vector<std::string>& typed, PatternOptions options = {}) {
  Patterns patterns(options);
  for (const std::string& each : typed) {
    auto added = patterns.add(each);
    EXPECT_TRUE(added) << each << ": " << (added ? "" : added.error().what);
  }
  return patterns.all();
}

MemoryArea area_of(std::uint64_t space = 1) {
  MemoryArea area;
  area.space = space;
  area.pid = 7;
  return area;
}

// `pieces`: how many bytes are handed over at a time.
std::vector<MemoryMatch> scan(const std::vector<Pattern>& patterns, const std::vector<PageBytes>& runs,
                              ScanOptions options, std::size_t pieces = 4096) {
  ScanTask with;
  std::vector<MemoryMatch> found;
  Scanner scanner(
      patterns, options,
      [&](MemoryMatch&& match) -> Status {
        found.push_back(std::move(match));
        return Done{};
      },
      with.task);
  EXPECT_TRUE(scanner.enter(area_of()));
  std::uint64_t bytes = 0;
  for (const PageBytes& run : runs) {
    bytes += run.bytes.size();
    const auto all = std::as_bytes(std::span(run.bytes));
    for (std::size_t at = 0; at < all.size(); at += pieces)
      EXPECT_TRUE(scanner.take(run.address + at, all.subspan(at, std::min(pieces, all.size() - at))));
  }
  EXPECT_TRUE(scanner.finish());
  EXPECT_EQ(scanner.searched_bytes(), bytes);
  EXPECT_THAT(with.gaps.kept(), IsEmpty());
  return found;
}

std::vector<Seen> seen(const std::vector<MemoryMatch>& matches) {
  std::vector<Seen> all;
  for (const MemoryMatch& each : matches)
    all.push_back({each.pattern.raw, each.address->value, each.bytes.raw});
  std::ranges::sort(all);
  return all;
}

std::string expression_of(const Pattern& pattern) {
  const std::string text = pattern.is_regex ? pattern.text : RE2::QuoteMeta(pattern.text);
  return pattern.ignore_case ? "(?i:" + text + ")" : text;
}

// RE2 at each place.
std::vector<Seen> naive(const std::vector<Pattern>& patterns, const std::vector<PageBytes>& runs) {
  std::vector<Seen> all;
  for (const Pattern& pattern : patterns) {
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingLatin1);
    options.set_longest_match(true);
    const RE2 expression(expression_of(pattern), options);
    for (const PageBytes& run : runs) {
      for (std::size_t at = 0; at < run.bytes.size();) {
        re2::StringPiece part;
        const std::size_t end = std::min(run.bytes.size(), at + kMaxMatchBytes);
        if (expression.Match(run.bytes, at, end, RE2::ANCHOR_START, &part, 1) && !part.empty()) {
          all.push_back({pattern.name, run.address + at, std::string(part)});
          at += part.size();
        } else {
          ++at;
        }
      }
    }
  }
  std::ranges::sort(all);
  return all;
}

TEST(Scanner, FindsWhatRe2FindsAtEachPlace) {
  const auto patterns = patterns_of({"needle", "ab", "aa", "wide:hey", "hex:00 ff ?? 01", "re:a+b",
                                     "re:[a-c]{3,9}d", "re:\\bab\\b", "re:^a+", "re:b+$", "re:a.*b",
                                     "re:(?s)c.*c", "re:a[^x]{10,900}?d", "re:(?i)NEEDLE|ba{2,}",
                                     "re:\\Ba\\B", "re:(a|b)(c|d)?\\x00+", "re:x\\S+y", "re:(?s:a.{900}b)"});
  std::mt19937 random(20'261'122);
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random()) % limit; };
  const std::string_view letters("aaaabbcd\0\nx y", 13);
  for (int round = 0; round < 3; ++round) {
    std::vector<PageBytes> runs;
    std::uint64_t address = 0x1000;
    for (std::size_t left = 1 + below(4); left > 0; --left) {
      PageBytes run{address, std::string(1 + below(16'000), '\0')};
      const std::size_t rare = 1 + below(40);
      for (char& c : run.bytes) c = below(rare) == 0 ? letters[below(letters.size())] : letters[below(3) + 5];
      for (std::size_t marks = below(20); marks > 0; --marks) {
        const std::string_view mark =
            below(2) == 0 ? std::string_view("needle") : std::string_view("h\0e\0y\0\0\xff!\1", 10);
        const std::size_t at = below(run.bytes.size());
        run.bytes.replace(at, std::min(mark.size(), run.bytes.size() - at),
                          mark.substr(0, run.bytes.size() - at));
      }
      address += run.bytes.size() + 1 + below(5'000);
      runs.push_back(std::move(run));
    }
    const auto expected = naive(patterns, runs);
    ASSERT_FALSE(expected.empty());
    for (const bool prefilter : {true, false}) {
      for (const std::size_t block : {std::size_t{1}, std::size_t{10'000}, std::size_t{1} << 20}) {
        SCOPED_TRACE(testing::Message()
                     << "round " << round << " prefilter " << prefilter << " block " << block);
        const auto found = scan(patterns, runs, {prefilter, block}, 1 + below(9'000));
        ASSERT_THAT(seen(found), testing::ContainerEq(expected));
      }
    }
  }
}

TEST(Scanner, JoinsAreCrossedHolesAreNot) {
  const auto patterns = patterns_of({"marker"});
  ScanTask with;
  std::vector<std::uint64_t> found;
  Scanner scanner(
      patterns, {},
      [&](MemoryMatch&& match) -> Status {
        found.push_back(match.address->value);
        EXPECT_EQ(match.path.raw, match.address->value < 0x2000 ? "[heap]" : "");
        return Done{};
      },
      with.task);
  const auto put = [&](std::uint64_t address, std::string_view text) {
    ASSERT_TRUE(scanner.take(address, std::as_bytes(std::span(text.data(), text.size()))));
  };
  MemoryArea heap = area_of();
  heap.path = Bytes("[heap]");
  ASSERT_TRUE(scanner.enter(MemoryArea(heap)));
  put(0x1ffd, "mar");
  ASSERT_TRUE(scanner.enter(area_of()));
  put(0x2000, "ker mar");  // across the join of two mappings
  put(0x3000, "ker");      // a hole lies between
  ASSERT_TRUE(scanner.enter(area_of(2)));
  put(0x3003, " mar");
  ASSERT_TRUE(scanner.enter(area_of(3)));
  put(0x3007, "ker marker");  // another process, at an address that would fit
  ASSERT_TRUE(scanner.finish());
  EXPECT_THAT(found, ElementsAre(0x1ffd, 0x300b));
}

TEST(Scanner, LongMatchesAreCutAndContextIsOfTheRun) {
  const std::vector<PageBytes> runs{{0x1000, std::string(10'000, 'a') + "b" + std::string(40, 'c')}};
  const auto found = scan(patterns_of({"re:a+", "re:a{1000}b"}), runs, {});
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0].size_bytes, kMaxMatchBytes);
  EXPECT_EQ(found[1].address->value, 0x1000 + kMaxMatchBytes);
  EXPECT_EQ(found[2].size_bytes, 10'000 - 2 * kMaxMatchBytes);
  EXPECT_EQ(found[3].bytes.raw, std::string(1'000, 'a') + "b");
  EXPECT_EQ(found[3].before.raw, std::string(kContextBytes, 'a'));
  EXPECT_EQ(found[3].after.raw, std::string(kContextBytes, 'c'));
  EXPECT_THAT(found[0].before.raw, IsEmpty());
}

TEST(Scanner, CaseIsIgnoredInAsciiOnly) {
  const std::vector<PageBytes> runs{{0,
                                     "Secret SECRET secret s\xc9"
                                     "cret S\xe9"
                                     "CRET"}};
  EXPECT_EQ(scan(patterns_of({"secret"}, {true, false}), runs, {}).size(), 3U);
  EXPECT_EQ(scan(patterns_of({"secret"}, {true, false}), runs, {false}).size(), 3U);
  EXPECT_EQ(scan(patterns_of({"s\xe9"
                              "cret"},
                             {true, false}),
                 runs, {})
                .size(),
            1U);
  EXPECT_EQ(scan(patterns_of({"s\xe9"
                              "cret"},
                             {true, false}),
                 runs, {false})
                .size(),
            1U);
}

TEST(Scanner, ManyIndicatorsInOnePass) {
  std::string file = "# indicators\r\n\r\n";
  std::string bytes;
  for (int i = 0; i < 5'000; ++i) {
    file += "indicator-" + std::to_string(i) + ".example\r\n";
    if (i % 500 == 0) bytes += std::string(3'000, '.') + "indicator-" + std::to_string(i) + ".example";
  }
  Patterns patterns({});
  ASSERT_TRUE(patterns.add_file(file));
  ASSERT_EQ(patterns.all().size(), 5'000U);
  EXPECT_EQ(scan(patterns.all(), {{0, bytes}}, {}).size(), 10U);
}

TEST(Scanner, AnErrorOfWhoTakesMatchesEndsIt) {
  ScanTask with;
  const auto patterns = patterns_of({"x"});
  Scanner scanner(
      patterns, {},
      [](MemoryMatch&&) -> Status {
        return Error{Errc::full, "no space"};
      },
      with.task);
  ASSERT_TRUE(scanner.enter(area_of()));
  const std::string bytes(5'000'000, 'x');
  Status last = scanner.take(0, std::as_bytes(std::span(bytes)));
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, Errc::full);
}

std::vector<FoundString> strings_in(std::string_view bytes, StringOptions options, std::size_t piece = 7) {
  ScanTask with;
  std::vector<FoundString> found;
  StringFinder finder(
      options,
      [&](FoundString&& each) -> Status {
        found.push_back(std::move(each));
        return Done{};
      },
      with.task);
  EXPECT_TRUE(finder.enter(area_of()));
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const auto part = bytes.substr(at, piece);
    EXPECT_TRUE(finder.take(0x1000 + at, std::as_bytes(std::span(part.data(), part.size()))));
  }
  EXPECT_TRUE(finder.finish());
  return found;
}

TEST(Strings, Table) {
  const struct {
    const char* name;
    std::string bytes;
    std::vector<std::string> ascii;
    std::vector<std::string> wide;
  } cases[] = {
      {"none", std::string(100, '\0'), {}, {}},
      {"the shortest, and one less", std::string("abcd\0abc\0", 9), {"abcd"}, {}},
      {"to the end", "\x01tab\tis", {"tab\tis"}, {}},
      {"wide", std::string("a\0b\0c\0d\0\0\0", 10), {}, {"abcd"}},
      {"wide at an odd address", std::string("\0a\0b\0c\0d\0", 9), {}, {"abcd"}},
      {"wide, too short", std::string("a\0b\0c\0\1\0", 8), {}, {}},
      {"both", std::string("plain a\0b\0c\0d\0", 14), {"plain a"}, {"abcd"}},
      {"bytes over 0x7f end it",
       "abcd\xe9"
       "fghi\x7f",
       {"abcd", "fghi"},
       {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<std::string> ascii;
    std::vector<std::string> wide;
    for (const FoundString& each : strings_in(c.bytes, {4}))
      (each.encoding == TextEncoding::ascii ? ascii : wide).push_back(each.text);
    EXPECT_EQ(ascii, c.ascii);
    EXPECT_EQ(wide, c.wide);
  }
}

// What a string is, one byte after the other: by expressions of RE2, which knows nothing of words of 64.
TEST(Strings, AreWhatAnExpressionFindsInAnyPieces) {
  std::mt19937 next(7);
  const auto wide = [](const std::string& text) {
    std::string bytes;
    for (const char c : text) bytes += std::string{c, '\0'};
    return bytes;
  };
  for (int round = 0; round < 12; ++round) {
    std::string bytes;
    const std::size_t size = next() % 900 + 1;
    while (bytes.size() < size) {
      const std::string text(next() % 90, static_cast<char>('a' + next() % 26));
      switch (next() % 5) {
        case 0:
          bytes += text;
          break;
        case 1:
          bytes += wide(text);
          break;
        case 2:
          bytes += std::string(next() % 70, '\0');
          break;
        case 3:
          bytes += static_cast<char>(next());
          break;
        default:
          bytes += wide(text.substr(0, 5)) + text.substr(0, 6);
      }
    }
    for (const std::size_t at_least : {2U, 4U, 8U, 33U, 70U}) {
      const std::string count = "{" + std::to_string(at_least) + ",}";
      std::multiset<std::pair<std::uint64_t, std::string>> expected;
      std::size_t at = 0;
      re2::StringPiece rest = bytes;
      re2::StringPiece found;
      const RE2 plain("([\\t -~]" + count + ")", RE2::Latin1);
      while (RE2::FindAndConsume(&rest, plain, &found)) {
        at = static_cast<std::size_t>(found.data() - bytes.data());
        expected.emplace(0x1000 + at, found.as_string());
      }
      // UTF-16LE at even and at odd addresses: anchored, at each place that does not go on from one before.
      for (std::size_t begin = 0; begin < bytes.size(); ++begin) {
        const auto is_wide = [&](std::size_t i) {
          return i + 1 < bytes.size() && bytes[i + 1] == '\0' &&
                 ((bytes[i] >= ' ' && bytes[i] < 0x7f) || bytes[i] == '\t');
        };
        if (!is_wide(begin) || (begin >= 2 && is_wide(begin - 2))) continue;
        std::string text;
        for (std::size_t i = begin; is_wide(i); i += 2) text += bytes[i];
        if (text.size() >= at_least) expected.emplace(0x1000 + begin, text);
      }
      for (const std::size_t piece : {1U, 2U, 7U, 63U, 64U, 65U, 1000U}) {
        SCOPED_TRACE(std::to_string(round) + ", at least " + std::to_string(at_least) + ", pieces of " +
                     std::to_string(piece));
        std::multiset<std::pair<std::uint64_t, std::string>> seen;
        for (const FoundString& each : strings_in(bytes, {at_least}, piece))
          seen.emplace(each.address->value, each.text);
        ASSERT_EQ(seen, expected);
      }
    }
  }
}

TEST(Strings, LongOnesGoOn) {
  const auto found = strings_in(std::string(kMaxStringCharacters + 3, 'x'), {4}, 1'000);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_TRUE(found[0].goes_on);
  EXPECT_EQ(found[1].text, "xxx");
  EXPECT_EQ(found[1].address->value, 0x1000 + kMaxStringCharacters);
}

}  // namespace
}  // namespace ctriage::search
