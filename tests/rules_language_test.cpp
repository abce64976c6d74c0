// Modifiers, suppressions, explanations, known files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/core/stream.h"
#include "lib/model/record.h"
#include "lib/rules/rules.h"

namespace ctriage::rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Process sample() {
  Process process;
  process.pid = 48;
  process.container_pid = -1;
  process.comm = Bytes("Bash");
  process.exe.path = Bytes("/usr/bin/Bash");
  process.exe.size_bytes = 18'446'744'073'709'551'615ULL;
  process.argv = {Bytes("bash"), Bytes("-c"), Bytes("echo L2Rldi90Y3AvMQ== a*b")};
  process.cwd = Bytes("/usr/bin/Bash");
  process.root = Bytes("");
  process.tty = Hex{0x22};
  process.environ = {Bytes("PEER=10.1.2.3"), Bytes("10.1.2.3"), Bytes("[2001:db8::9]:80")};
  return process;
}

std::vector<std::string> found(Engine& engine, const Record& record) {
  Context context;
  context.kind = record.kind();
  std::vector<std::string> ids;
  const auto keep = [&ids](Finding&& finding) -> Status {
    ids.push_back(finding.rule);
    return Done{};
  };
  EXPECT_TRUE(engine.evaluate(record, context, keep));
  return ids;
}

std::string rule_of(const std::string& field, const std::string& id = "A") {
  return R"({"id": ")" + id +
         R"(", "title": "t", "severity": "low", "artifact": "process", "detect": {"s": {)" + field +
         R"(}, "condition": "s"}, "explain": "e", "next": "n"})";
}

TEST(Modifiers, Match) {
  const struct {
    const char* field;
    bool met;
  } cases[] = {
      {R"("exe.path": "/usr/bin/Bash")", true},
      {R"("exe.path": "/usr/bin/bash")", false},
      {R"("exe.path|i": "/usr/bin/bASH")", true},
      {R"("exe.path": "/usr/bin/*")", false},  // no wildcards but with glob
      {R"("exe.path|contains": "bin")", true},
      {R"("exe.path|contains": ["x", "bin"])", true},
      {R"("exe.path|contains|all": ["usr", "bin"])", true},
      {R"("exe.path|contains|all": ["usr", "x"])", false},
      {R"("exe.path|contains|i": "bASH")", true},
      {R"("exe.path|contains": "bASH")", false},
      {R"("exe.path|startswith": "/usr/")", true},
      {R"("exe.path|startswith": "usr/")", false},
      {R"("exe.path|endswith": "/Bash")", true},
      {R"("exe.path|endswith": "Bas")", false},
      {R"("argv": "-c")", true},  // any element
      {R"("argv|all": ["-c", "bash"])", true},
      {R"("argv|all": ["-c", "sh"])", false},
      {R"("exe.path|glob": "/usr/*/B?sh")", true},
      {R"("exe.path|glob": "/usr/*/B?h")", false},
      {R"("exe.path|glob": "*Bash")", true},
      {R"("exe.path|glob": "/usr*")", true},
      {R"("exe.path|glob": "*bin*")", true},
      {R"("exe.path|glob|i": "*/b?SH")", true},
      {R"("command_line|glob": "*a\\*b")", true},
      {R"("comm|glob": "Ba\\*")", false},
      {R"("exe.path|re": "^/usr/(s?bin)/B.sh$")", true},
      {R"("exe.path|re": "bin")", true},  // anywhere
      {R"("exe.path|re": "^bin")", false},
      {R"("exe.path|re|i": "BASH$")", true},
      {R"("environ|cidr": "10.0.0.0/8")", true},
      {R"("environ|cidr": "10.1.2.3")", true},
      {R"("environ|cidr": "10.1.2.4/31")", false},
      {R"("environ|cidr": "2001:db8::/32")", true},
      {R"("environ|cidr": "2001:db9::/32")", false},
      {R"("environ|cidr": "0.0.0.0/0")", true},
      {R"("exe.path|cidr": "0.0.0.0/0")", false},
      {R"("pid|lt": 49)", true},
      {R"("pid|lt": 48)", false},
      {R"("pid|lte": 48)", true},
      {R"("pid|gt": 9)", true},  // as numbers
      {R"("pid|gte": 49)", false},
      {R"("container_pid|lt": 0)", true},
      {R"("container_pid|gt": -2)", true},
      {R"("exe.size_bytes|gte": 18446744073709551615)", true},
      {R"("exe.size_bytes|gt": 18446744073709551614)", true},
      {R"("tty|gt": "0x21")", true},
      {R"("comm|gt": 0)", false},  // no number
      {R"("exe.sha256|exists": false)", true},
      {R"("exe.sha256|exists": true)", false},
      {R"("comm|exists": true)", true},
      {R"("exe.sha256": null)", true},
      {R"("root": null)", true},  // empty
      {R"("comm": null)", false},
      {R"("comm": [null, "Bash"])", true},
      {R"("command_line|base64": "/dev/tcp")", true},
      {R"("command_line|base64": "dev/tcp")", true},  // begins at another place
      {R"("command_line|base64": "ev/tcp")", true},
      {R"("command_line|base64": "/dev/udp")", false},
      {R"("exe.path|fieldref": "cwd")", true},
      {R"("exe.path|fieldref": "comm")", false},
      {R"("exe.path|fieldref|endswith": "comm")", true},
      {R"("exe.path|fieldref|contains": "comm")", true},
      {R"("exe.path|fieldref|startswith": "comm")", false},
      {R"("argv|fieldref|i": "comm")", true},
      {R"("comm|not": "sh")", true},
      {R"("comm|neq": "Bash")", false},
      {R"("exe.sha256|not": "ab")", true},  // what is not there is not that
      {R"("comm|contains|not": ["x", "as"])", false},
  };
  const Process process = sample();
  const RecordOf<Process> record(process);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.field);
    auto rules = parse_rules(rule_of(c.field), "file");
    ASSERT_TRUE(rules) << rules.error().what;
    Engine engine(*std::move(rules));
    EXPECT_EQ(!found(engine, record).empty(), c.met);
    EXPECT_EQ(!found(engine, record).empty(), c.met) << "the second time";
  }
}

TEST(Modifiers, Refused) {
  const struct {
    const char* field;
    const char* says;
  } cases[] = {
      {R"("comm|": "a")", "no modifier is called \"\""},
      {R"("comm|startswith|endswith": "a")", "modifier endswith: does not go"},
      {R"("comm|re|contains": "a")", "do not go with"},
      {R"--("comm|re": "(")--", "expression: missing )"},
      {R"--("comm|re": "(?=a)")--", "expression: invalid perl operator"},
      {R"("comm|re": 7)", "an expression is a string"},
      {R"("comm|cidr": "10.0.0.0/33")", "is not a network"},
      {R"("comm|cidr": "::/129")", "is not a network"},
      {R"("comm|lt": "x")", "is not a whole number"},
      {R"("comm|exists": 1)", "true or false"},
      {R"("comm|exists|all": true)", "stands alone"},
      {R"("comm|contains": "")", "match everything"},
      {R"("comm|contains": null)", "null has no modifiers"},
      {R"("comm|fieldref": "nope")", "no field is called \"nope\""},
      {R"("comm|cased|i": "a")", "exclude each other"},
      {R"("comm|all|all": "a")", "used twice"},
      {R"("comm|re|base64": "a")", "base64 does not go"},
      {R"("comm|wide": "a")", "no modifier is called \"wide\""},
      {R"("parent.comm.x|contains": "a")", "no such field"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.field);
    const auto rules = parse_rules(rule_of(c.field), "file");
    ASSERT_FALSE(rules);
    EXPECT_THAT(rules.error().what, HasSubstr(c.says));
  }
  const std::string long_one = R"("comm|re": ")" + std::string(kMaxPatternBytes + 1, 'a') + '"';
  EXPECT_EQ(parse_rules(rule_of(long_one), "file").error().code, Errc::limit);
  std::string many = R"("comm|re": [)";
  for (std::size_t i = 0; i <= kMaxExpressions; ++i)
    many += (i == 0 ? "\"a" : ", \"a") + std::to_string(i) + '"';
  EXPECT_EQ(parse_rules(rule_of(many + "]"), "file").error().code, Errc::limit);
}

TEST(RuleFile, EveryMistakeIsTold) {
  const std::string text = "[" + rule_of(R"("nope": 1, "comm|re": "(", "pid|lt": "x")") + "," +
                           rule_of(R"("pid": 48)", "B") + R"(, {"id": "C", "colour": 1}])";
  const RuleFile file = read_rules(text, "file");
  ASSERT_EQ(file.set.rules.size(), 1U);
  EXPECT_EQ(file.set.rules[0].id, "B");
  std::vector<std::string> told;
  for (const Mistake& one : file.mistakes) told.push_back(one.told().what);
  EXPECT_THAT(told, ::testing::IsSupersetOf(
                        {std::string("file: rule A: detect.s.nope: artifact process has no such field"),
                         std::string("file: rule A: detect.s.pid|lt: \"x\" is not a whole number"),
                         std::string("file: rule C: colour: not a field of a rule"),
                         std::string("file: rule C: title: missing")}));
  EXPECT_GT(told.size(), 6U);
}

TEST(RuleFile, ListsOfMapsAreAny) {
  auto rules = parse_rules(R"({"id": "A", "title": "t", "severity": "low", "artifact": "process",
      "detect": {"s": [{"pid": 1}, {"comm": "Bash", "pid": 48}], "t_1": {"pid": 2}, "t_2": {"pid": 48},
                 "condition": "s and 1 of t_* and not all of t_*"}, "explain": "e", "next": "n"})",
                           "file");
  ASSERT_TRUE(rules) << rules.error().what;
  Engine engine(*std::move(rules));
  Process process = sample();
  const RecordOf<Process> record(process);
  EXPECT_THAT(found(engine, record), ElementsAre("A"));
  process.comm = Bytes("x");
  EXPECT_THAT(found(engine, record), IsEmpty());
}

TEST(Suppressions, CountAndEnd) {
  const std::string text =
      R"({"rules": [)" + rule_of(R"("comm": "Bash")") + "," + rule_of(R"("pid": 48)", "B") + R"(],
      "suppress": [{"rule": "A", "where": {"exe.path|endswith": "/Bash"}, "reason": "build", "until": "2026-11-23"},
                   {"rule": "B", "where": [{"pid": 7}, {"pid": 48}], "reason": "known"},
                   {"rule": "B", "where": {"pid": 9}, "reason": "other"}]})";
  auto rules = parse_rules(text, "file");
  ASSERT_TRUE(rules) << rules.error().what;
  EXPECT_THAT(check_suppressions(*rules, *rules), IsEmpty());
  const Process process = sample();
  const RecordOf<Process> record(process);
  const struct {
    const char* now;
    bool suppressed;
  } cases[] = {{"2026-11-22T12:00:00Z", true},
               {"2026-11-23T23:59:59Z", true},  // that day included
               {"2026-11-24T00:00:00Z", false},
               {"", false}};  // no clock
  for (const auto& c : cases) {
    SCOPED_TRACE(c.now);
    Engine engine(*rules);
    Timestamp now;
    if (parse_rfc3339(c.now, now)) engine.set_time(now);
    EXPECT_EQ(found(engine, record).empty(), c.suppressed);
    const auto counts = engine.suppressed();
    ASSERT_EQ(counts.size(), 3U);
    EXPECT_EQ(counts[0].expired, !c.suppressed);
    EXPECT_EQ(counts[0].count, 1U);
    EXPECT_EQ(counts[1].reason, "known");
    EXPECT_EQ(counts[1].count, 1U);
    EXPECT_EQ(counts[2].count, 0U);
  }
}

TEST(Suppressions, Refused) {
  const struct {
    const char* entry;
    const char* says;
  } cases[] = {
      {R"({"rule": "A", "where": {"pid": 1}, "reason": "r", "until": "2026-13-01"})", "until: not a day"},
      {R"({"rule": "A", "where": {"pid": 1}, "reason": "r", "until": "2026-02-30"})", "until: not a day"},
      {R"({"rule": "A", "where": {"pid": 1}, "reason": "r", "until": 2026})", "until: not a day"},
      {R"({"rule": "A", "where": {}, "reason": "r"})", "where: empty"},
      {R"({"rule": "A", "reason": "r"})", "where: missing"},
      {R"({"rule": "A", "where": {"pid": 1}})", "reason: missing"},
      {R"({"where": {"pid": 1}, "reason": "r"})", "suppression 1: rule: missing"},
      {R"({"rule": "A", "where": {"pid": 1}, "reason": "r", "x": 1})", "x: not a field of a suppression"},
  };
  for (const auto& c : cases) {
    const auto rules = parse_rules(R"({"suppress": [)" + std::string(c.entry) + "]}", "file");
    ASSERT_FALSE(rules) << c.entry;
    EXPECT_THAT(rules.error().what, HasSubstr(c.says));
  }
  const auto unknown = parse_rules(R"({"rules": [)" + rule_of(R"("pid": 1)") +
                                       R"(], "suppress": [{"rule": "Z", "where": {"pid": 1}, "reason": "r"},
             {"rule": "A", "where": {"path": "x", "comm|fieldref": "nope"}, "reason": "r"}]})",
                                   "file");
  ASSERT_TRUE(unknown) << unknown.error().what;
  EXPECT_EQ(check_suppressions(*unknown, *unknown).size(), 3U);
}

TEST(KnownGood, FilesAndFindings) {
  const std::string one(64, 'a');
  const std::string two = std::string(63, 'b') + "1";
  const std::string text = "# ours\n" + one + "  bin/x\n\\" + two + "  a\\nb\n\n" + std::string(64, 'A');
  MemorySource in(text);
  auto known = read_known_good(in);
  ASSERT_TRUE(known) << known.error().what;
  EXPECT_EQ(known->size(), 2U);
  for (const std::string& wrong : {one.substr(1), one + "a", "zz" + one.substr(2), one + "x  name"}) {
    MemorySource bad(wrong);
    const auto refused = read_known_good(bad);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_THAT(refused.error().what, HasSubstr("line 1: not a SHA-256"));
  }

  auto rules = parse_rules(rule_of(R"("comm": "Bash")"), "file");
  ASSERT_TRUE(rules);
  Engine engine(*rules);
  engine.set_known_good(std::make_shared<const KnownGood>(*std::move(known)));
  Process process = sample();
  const RecordOf<Process> record(process);
  EXPECT_THAT(found(engine, record), ElementsAre("A"));  // no hash is no known file
  process.exe.sha256 = one;
  EXPECT_THAT(found(engine, record), IsEmpty());
  EXPECT_EQ(engine.known_good_count(), 1U);
  process.script.emplace().path = Bytes("/tmp/x.sh");
  EXPECT_THAT(found(engine, record), ElementsAre("A"));  // a known shell, an unknown script
  process.script->sha256 = std::string(64, 'c');
  EXPECT_THAT(found(engine, record), ElementsAre("A"));
  process.script->sha256 = two;
  EXPECT_THAT(found(engine, record), IsEmpty());
  EXPECT_EQ(engine.known_good_count(), 2U);
}

TEST(KnownGood, NotForWhatIsNotAboutAFile) {
  auto builtin = builtin_rules();
  ASSERT_TRUE(builtin);
  const auto at = std::ranges::find(builtin->rules, "CT-EXEC-005", &Rule::id);
  ASSERT_NE(at, builtin->rules.end());
  EXPECT_FALSE(at->known_good);
}

TEST(Explanations, ReasonsAndOverrides) {
  const std::string text =
      R"({"rules": [)" + rule_of(R"("pid": 48)") + "," + rule_of(R"("pid": 48)", "B") + R"(],
      "explain_changes": [
        {"id": "X-1", "reason": "cache", "artifact": "file_change",
         "detect": {"s": {"path|startswith": "/var/cache/"}, "condition": "s"}},
        {"id": "X-2", "reason": "probe", "artifact": "process",
         "detect": {"s": {"comm": "Bash"}, "condition": "s"}, "overrides": ["A"]}]})";
  auto rules = parse_rules(text, "file");
  ASSERT_TRUE(rules) << rules.error().what;
  Engine engine(*std::move(rules));
  FileChange change;
  change.path = Bytes("/var/cache/apt/x");
  EXPECT_EQ(engine.explained_by(RecordOf<FileChange>(change)), "cache");
  change.path = Bytes("/etc/x");
  EXPECT_EQ(engine.explained_by(RecordOf<FileChange>(change)), std::nullopt);
  const Process process = sample();
  EXPECT_EQ(engine.explained_by(RecordOf<Process>(process)), "probe");
  EXPECT_THAT(found(engine, RecordOf<Process>(process)), ElementsAre("B"));
  EXPECT_EQ(engine.overridden_count(), 1U);
}

}  // namespace
}  // namespace ctriage::rules
