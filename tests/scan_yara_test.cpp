// Rules as libyara compiles them, and what is found where in bytes that come in runs and pieces.
#include <gtest/gtest.h>

#include <fstream>

#include "lib/scan/scanner.h"
#include "tests/temp_dir.h"

namespace ctriage::scan {
namespace {

constexpr const char* kRule = R"(
rule two : implant demo {
  meta: severity = "High" score = 75 sure = true
  strings: $a = "alpha" $b = { 62 65 74 61 }
  condition: all of them
}
rule head { condition: uint32(0) == 0x464c457f }
)";

struct Fixture : ::testing::Test {
  std::unique_ptr<Rules> compile(const std::string& text) {
    write("r.yar", text);
    auto rules = Rules::compile({directory.path() + "/r.yar"}, task);
    EXPECT_TRUE(rules) << rules.error().what;
    return rules ? *std::move(rules) : nullptr;
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory.path() + "/" + name, std::ios::binary) << text;
  }
  std::unique_ptr<YaraScanner> scanner(const Rules& rules, YaraOptions options = {}) {
    auto made = YaraScanner::create(
        rules, options,
        [this](YaraMatch&& match) {
          found.push_back(std::move(match));
          return Status(Done{});
        },
        task);
    EXPECT_TRUE(made);
    return *std::move(made);
  }
  static MemoryArea memory(std::uint64_t space, std::uint64_t start) {
    MemoryArea area;
    area.space = space;
    area.pid = 7;
    area.start = start;
    area.address = start;
    area.protection = "rw-p";
    area.path = Bytes(std::string("[heap]"));
    return area;
  }
  static MemoryArea file(std::uint64_t space, const std::string& path) {
    MemoryArea area;
    area.space = space;
    area.kind = AreaKind::layer;
    area.address = std::nullopt;
    area.has_offset = true;
    area.path = Bytes(path);
    return area;
  }
  static Status take(YaraScanner& to, std::uint64_t at, std::string_view text) {
    return to.take(at, std::as_bytes(std::span(text.data(), text.size())));
  }

  TempDir directory;
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  std::vector<YaraMatch> found;
};

TEST_F(Fixture, WhatARuleSaysAndWhere) {
  const auto rules = compile(kRule);
  ASSERT_EQ(rules->count(), 2U);
  auto scanner = this->scanner(*rules);
  ASSERT_TRUE(scanner->enter(memory(1, 0x1000)));
  ASSERT_TRUE(take(*scanner, 0x1000, "xxalphaxx"));
  MemoryArea next = memory(1, 0x1009);
  next.path = Bytes(std::string("[stack]"));
  ASSERT_TRUE(scanner->enter(std::move(next)));
  ASSERT_TRUE(take(*scanner, 0x1009, "beta"));
  ASSERT_TRUE(scanner->finish());
  ASSERT_EQ(found.size(), 1U);
  const YaraMatch& match = found[0];
  EXPECT_EQ(match.rule, "two");
  EXPECT_EQ(match.severity, Severity::high);
  EXPECT_EQ(match.tags, (std::vector<std::string>{"implant", "demo"}));
  ASSERT_EQ(match.meta.size(), 3U);
  EXPECT_EQ(match.meta[1].value.raw, "75");
  EXPECT_EQ(match.meta[2].value.raw, "true");
  EXPECT_EQ(match.pid, 7);
  EXPECT_EQ(match.address->value, 0x1002U);
  EXPECT_EQ(match.path.raw, "[heap]");
  ASSERT_EQ(match.strings.size(), 2U);
  EXPECT_EQ(match.strings[1].id, "$b");
  EXPECT_EQ(match.strings[1].address->value, 0x1009U);
  EXPECT_EQ(match.strings[1].bytes.raw, "beta");
  EXPECT_EQ(match.string_count, 2U);
}

TEST_F(Fixture, AHoleAndAnotherSpaceEndARun) {
  const auto rules = compile(kRule);
  auto scanner = this->scanner(*rules);
  ASSERT_TRUE(scanner->enter(memory(1, 0x1000)));
  ASSERT_TRUE(take(*scanner, 0x1000, "alpha"));
  ASSERT_TRUE(take(*scanner, 0x2000, "beta"));  // a hole between
  ASSERT_TRUE(scanner->enter(memory(2, 0x2004)));
  ASSERT_TRUE(take(*scanner, 0x2004, "alpha"));  // of another process
  ASSERT_TRUE(scanner->finish());
  EXPECT_TRUE(found.empty());
  EXPECT_EQ(scanner->searched_bytes(), 14U);
}

TEST_F(Fixture, FilesAreSeenFromTheirBeginning) {
  const auto rules = compile(kRule);
  auto scanner = this->scanner(*rules);
  ASSERT_TRUE(scanner->enter(file(1, "/a")));
  ASSERT_TRUE(take(*scanner, 0, "no ELF"));
  ASSERT_TRUE(scanner->enter(file(2, "/b")));
  ASSERT_TRUE(take(*scanner, 0,
                   "\x7f"
                   "ELF and more"));
  ASSERT_TRUE(scanner->finish());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].rule, "head");
  EXPECT_EQ(found[0].path.raw, "/b");
  EXPECT_EQ(found[0].offset_bytes, 0U);
  EXPECT_EQ(found[0].severity, Severity::medium);
  EXPECT_FALSE(found[0].address);
}

// Wherever a string lies, pieces find it once, at its place.
TEST_F(Fixture, PiecesFindWhatLiesWhereTheyMeet) {
  const auto rules = compile("rule one { strings: $a = \"needle\" condition: $a }");
  for (std::size_t at = 0; at + 6 <= 200; ++at) {
    SCOPED_TRACE(at);
    found.clear();
    auto scanner = this->scanner(*rules, {.piece_timeout_s = 10, .piece_bytes = 64, .overlap_bytes = 16});
    std::string text(200, '.');
    text.replace(at, 6, "needle");
    ASSERT_TRUE(scanner->enter(memory(1, 0x5000)));
    ASSERT_TRUE(take(*scanner, 0x5000, text));
    ASSERT_TRUE(scanner->finish());
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].address->value, 0x5000 + at);
  }
  EXPECT_EQ(gaps.total(), 0U);
}

TEST_F(Fixture, ALargeFileSaysThatItCameInPieces) {
  const auto rules = compile("rule small { condition: filesize < 100 }");
  auto scanner = this->scanner(*rules, {.piece_timeout_s = 10, .piece_bytes = 64, .overlap_bytes = 16});
  ASSERT_TRUE(scanner->enter(file(1, "/big")));
  ASSERT_TRUE(take(*scanner, 0, std::string(500, 'x')));
  ASSERT_TRUE(scanner->finish());
  EXPECT_EQ(found.size(), 1U);  // the same of every piece: said once
  ASSERT_EQ(gaps.count(Impact::degraded), 1U);
  EXPECT_EQ(gaps.kept()[0].origin, "/big");
}

TEST_F(Fixture, WhatTakesTooLongIsNamed) {
  const auto rules = compile(R"(rule slow { condition:
    for all i in (1..100000000) : ( for all j in (1..100000000) : ( uint8(0) == 0x61 or i + j > 0 ) ) })");
  auto scanner = this->scanner(*rules, {.piece_timeout_s = 1});
  ASSERT_TRUE(scanner->enter(file(1, "/slow")));
  ASSERT_TRUE(take(*scanner, 0, "aaaa"));
  ASSERT_TRUE(scanner->finish());
  ASSERT_EQ(gaps.count(Impact::lost), 1U);
  EXPECT_EQ(gaps.kept()[0].origin, "/slow");
  EXPECT_EQ(gaps.kept()[0].error.code, Errc::timeout);
}

TEST_F(Fixture, ARefusalEndsIt) {
  const auto rules = compile(kRule);
  auto made = YaraScanner::create(
      *rules, {},
      [](YaraMatch&&) {
        return Status(Error{Errc::full, "no room"});
      },
      task);
  ASSERT_TRUE(made);
  ASSERT_TRUE((*made)->enter(file(1, "/b")));
  ASSERT_TRUE(take(**made, 0,
                   "\x7f"
                   "ELF"));
  const auto done = (*made)->finish();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::full);
}

TEST_F(Fixture, MistakesNameFileAndLine) {
  write("a.yar", "rule good { condition: true }\n");
  write("b.yar", "rule x {\n condition: $nothing }\n");
  write("c.yara", "rule y { condition: filesize }\nrule z { condition: maybe }\n");
  write("d.txt", "not rules");
  const auto rules = Rules::compile({directory.path()}, task);
  ASSERT_FALSE(rules);
  EXPECT_EQ(rules.error().code, Errc::malformed);
  EXPECT_NE(rules.error().what.find("/b.yar:2: undefined string"), std::string::npos) << rules.error().what;
  EXPECT_NE(rules.error().what.find("/c.yara:2: undefined identifier"), std::string::npos)
      << rules.error().what;
}

TEST_F(Fixture, WhatIsNoRulesIsRefused) {
  const struct {
    const char* name;
    std::string text;
    Errc code;
    const char* says;
  } cases[] = {
      {"compiled", std::string("YARA\x16\0\0\0", 8), Errc::unsupported, "compiled by yarac"},
      {"include", "include \"/etc/passwd\"\nrule a { condition: true }", Errc::malformed, ":1: "},
      {"a zero byte", std::string("rule a {\n condition: true }\0", 28), Errc::malformed, ":2: a zero byte"},
      {"none", "/* nothing */", Errc::malformed, "no rule"},
      {"empty", "", Errc::malformed, "no rule"},
      {"unknown module", "import \"nothing\"\n", Errc::malformed, ":1: "},
      {"unfinished", "rule a { condition: ", Errc::malformed, ":1: "},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    write("r.yar", c.text);
    const auto rules = Rules::compile({directory.path() + "/r.yar"}, task);
    ASSERT_FALSE(rules);
    EXPECT_EQ(rules.error().code, c.code) << rules.error().what;
    EXPECT_NE(rules.error().what.find(c.says), std::string::npos) << rules.error().what;
  }
  EXPECT_FALSE(Rules::compile({directory.path() + "/nowhere.yar"}, task));
  TempDir empty;
  EXPECT_EQ(Rules::compile({empty.path()}, task).error().code, Errc::not_found);
}

TEST_F(Fixture, FilesMayHaveRulesOfOneName) {
  write("a.yar", "rule same { strings: $a = \"one\" condition: $a }");
  write("b.yar", "rule same { strings: $a = \"two\" condition: $a and filename == \"f.sh\" }");
  const auto rules = Rules::compile({directory.path()}, task);
  ASSERT_TRUE(rules) << rules.error().what;
  auto scanner = this->scanner(**rules);
  ASSERT_TRUE(scanner->enter(file(1, "/tmp/f.sh")));
  ASSERT_TRUE(take(*scanner, 0, "one two"));
  ASSERT_TRUE(scanner->finish());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_TRUE(found[0].file.ends_with("/a.yar"));
  EXPECT_TRUE(found[1].file.ends_with("/b.yar"));
}

}  // namespace
}  // namespace ctriage::scan
