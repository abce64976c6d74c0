#include "lib/rules/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lib/core/text.h"
#include "lib/model/record.h"
#include "lib/rules/condition.h"
#include "lib/rules/embedded.h"
#include "lib/rules/template.h"

namespace ctriage::rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- Conditions ----

const std::vector<Selection> kNames{{"a", {}}, {"b", {}}, {"c", {}}, {"not_x", {}}};

TEST(Condition, TruthTables) {
  // One digit per assignment of a, b, c counted as bits 4, 2, 1: "00000001" is a and b and c.
  const struct {
    const char* text;
    const char* truth;
  } cases[] = {
      {"a", "00001111"},
      {"not a", "11110000"},
      {"not not a", "00001111"},
      {"a and b", "00000011"},
      {"a or b", "00111111"},
      {"a or b and c", "00011111"},  // and binds tighter
      {"b and c or a", "00011111"},
      {"(a or b) and c", "00010101"},
      {"not a and b", "00110000"},  // not binds tightest
      {"not (a and b)", "11111100"},
      {"a and not b or not c", "10101110"},
      {"a and b or a and c", "00000111"},
      {"  ( ( a ) )  ", "00001111"},
      {"a\tor\nb\r", "00111111"},
      {"not(a)or(b)", "11110011"},
      {"a and not a", "00000000"},
      {"not_x or a", "00001111"},  // a name may begin with a keyword
      {"1 of a*", "00001111"},
      {"1 of *", "01111111"},
      {"any of *", "01111111"},
      {"1 of them", "01111111"},
      {"all of *", "00000000"},  // of not_x too
      {"1 of them and not all of *a", "01110000"},
      {"not 1 of them", "10000000"},
      {"all of a or c", "01011111"},
      {"all of not*x*", "00000000"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const auto nodes = parse_condition(c.text, kNames);
    ASSERT_TRUE(nodes) << nodes.error().what;
    std::string truth;
    for (unsigned bits = 0; bits < 8; ++bits) {
      truth +=
          is_met(*nodes, [bits](std::size_t i) { return i < 3 && (bits >> (2 - i) & 1U) != 0; }) ? '1' : '0';
    }
    EXPECT_EQ(truth, c.truth);
  }
}

TEST(Condition, Refused) {
  const struct {
    std::string text;
    Errc code;
    const char* says;
  } cases[] = {
      {"", Errc::malformed, "expected a selection at byte 0, the condition ends"},
      {"   ", Errc::malformed, "the condition ends"},
      {"d", Errc::malformed, "no selection is called \"d\""},
      {"a and", Errc::malformed, "the condition ends"},
      {"and a", Errc::malformed, "found \"and\""},
      {"a b", Errc::malformed, "expected and, or, or the end at byte 2, found \"b\""},
      {"a or or b", Errc::malformed, "found \"or\""},
      {"not", Errc::malformed, "the condition ends"},
      {"(a", Errc::malformed, "expected \")\""},
      {"a)", Errc::malformed, "found \")\""},
      {"()", Errc::malformed, "found \")\""},
      {"A", Errc::malformed, "no selection is called"},
      {"a AND b", Errc::malformed, "found \"AND\""},
      {"1 of d*", Errc::malformed, "no selection is called \"d*\""},
      {"2 of a", Errc::malformed, "no selection is called \"2\""},
      {"1 a", Errc::malformed, "no selection is called \"1\""},
      {"all of", Errc::malformed, "no selection is called \"all\""},
      {"all of )", Errc::malformed, "expected them or a name with *"},
      {std::string(kMaxConditionDepth + 1, '(') + "a" + std::string(kMaxConditionDepth + 1, ')'), Errc::limit,
       "deep"},
      {std::string(100'000, '('), Errc::limit, "longer"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 60));
    const auto nodes = parse_condition(c.text, kNames);
    ASSERT_FALSE(nodes);
    EXPECT_EQ(nodes.error().code, c.code);
    EXPECT_THAT(nodes.error().what, HasSubstr(c.says));
  }
  EXPECT_TRUE(parse_condition(
      std::string(kMaxConditionDepth, '(') + "a" + std::string(kMaxConditionDepth, ')'), kNames));
  std::string longest = "a";
  while (longest.size() + 6 <= kMaxConditionBytes) longest += " and a";
  const auto nodes = parse_condition(longest, kNames);
  ASSERT_TRUE(nodes);
  EXPECT_TRUE(is_met(*nodes, [](std::size_t) { return true; }));
  EXPECT_FALSE(is_met({}, [](std::size_t) { return true; }));
}

// ---- Templates ----

TEST(Template, FillsAndQuotes) {
  const auto value = [](std::string_view name) { return '<' + std::string(name) + '>'; };
  EXPECT_EQ(fill_template("", value), "");
  EXPECT_EQ(fill_template("plain", value), "plain");
  EXPECT_EQ(fill_template("{a}{b.c} d", value), "<a><b.c> d");
  const auto known = [](std::string_view name) { return name == "a"; };
  EXPECT_TRUE(check_template("x {a} y{a}", known));
  for (const char* text : {"{", "}", "{a", "a}", "{{a}}", "{}", "{b}", "{a}}"}) {
    EXPECT_FALSE(check_template(text, known)) << text;
  }
  EXPECT_EQ(shell_word("shop/web-7d9f:/etc/x"), "shop/web-7d9f:/etc/x");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("$(id)"), "'$(id)'");
  EXPECT_EQ(shell_word("a'b"), "'a'\"'\"'b'");
  EXPECT_EQ(shell_word("a b\n"), "'a b\n'");
}

// ---- Rule files ----

const std::string kGood =
    R"({"id": "X-1", "title": "t", "severity": "low", "attack": ["T1105"], "artifact": "process",
 "detect": {"one": {"exe.origin": ["upper", "memfd"], "ppid": 0}, "two": {"exe.deleted": true}, "condition": "one and not two"},
 "explain": "{exe.path} {pid} {id}", "next": "ctriage show {source} {id}"})";

std::string with(std::string_view from, std::string_view to) {
  std::string text = kGood;
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(RuleFile, ThreeForms) {
  for (const std::string& text : {kGood, "[" + kGood + "]", R"({"version": 1, "rules": [)" + kGood + "]}"}) {
    const auto rules = parse_rules(text, "file");
    ASSERT_TRUE(rules) << rules.error().what;
    ASSERT_EQ(rules->rules.size(), 1U);
    const Rule& rule = rules->rules.front();
    EXPECT_EQ(rule.id, "X-1");
    EXPECT_EQ(rule.severity, Severity::low);
    EXPECT_THAT(rule.attack, ElementsAre("T1105"));
    ASSERT_EQ(rule.detect.selections.size(), 2U);
    const FieldTest& ppid = rule.detect.selections[0].any_of[0][1];
    EXPECT_EQ(ppid.path, "ppid");
    ASSERT_EQ(ppid.patterns.size(), 1U);
    EXPECT_EQ(ppid.patterns[0].text, "0");
    EXPECT_EQ(rule.detect.selections[1].any_of[0][0].patterns[0].text, "true");
  }
  EXPECT_TRUE(parse_rules("[]", "file")->rules.empty());
}

TEST(RuleFile, ErrorsNameRuleAndField) {
  const struct {
    std::string text;
    Errc code;
    const char* says;
  } cases[] = {
      {"", Errc::malformed, "file: "},
      {"7", Errc::malformed, "not a rule"},
      {"[7]", Errc::malformed, "file: rule 1: not an object"},
      {"[{}]", Errc::malformed, "file: rule 1: id: missing"},
      {with("\"X-1\"", "7"), Errc::malformed, "file: rule 1: id: not a string"},
      {with("X-1", "X 1"), Errc::malformed, "id: letters"},
      {with("X-1", std::string(65, 'x')), Errc::malformed, "64 at most"},
      {with("\"title\": \"t\",", ""), Errc::malformed, "file: rule X-1: title: missing"},
      {with("\"t\"", "\"\""), Errc::malformed, "title: empty"},
      {with("\"t\"", '"' + std::string(2'000, 't') + '"'), Errc::limit, "title: too long"},
      {with("\"low\"", "\"bad\""), Errc::malformed, "rule X-1: severity: not info, low"},
      {with("T1105", "T 1"), Errc::malformed, "attack: not a technique"},
      {with("\"process\"", "\"proces\""), Errc::malformed, "artifact: no artifact is called \"proces\""},
      {with("exe.origin", "exe.orgin"), Errc::malformed,
       "rule X-1: detect.one.exe.orgin: artifact process has no such"},
      {with("exe.origin", "exe"), Errc::malformed, "detect.one.exe: artifact process has no such"},
      {with("exe.origin", "exe.origin|contain"), Errc::malformed,
       "rule X-1: detect.one.exe.origin|contain: no modifier is called \"contain\""},
      {with("exe.origin", "exe.orgin|contains"), Errc::malformed, "artifact process has no such"},
      {with("\"ppid\": 0", "\"ppid\": 0.5"), Errc::malformed, "detect.one.ppid: a value is"},
      {with("\"ppid\": 0", "\"ppid\": []"), Errc::malformed, "empty list"},
      {with("\"ppid\": 0", "\"ppid\": [[0]]"), Errc::malformed, "a value is"},
      {with("{\"exe.deleted\": true}", "{}"), Errc::malformed, "detect.two: empty"},
      {with("{\"exe.deleted\": true}", "[true]"), Errc::malformed, "detect.two: not an object"},
      {with("{\"exe.deleted\": true}", "[[{\"exe.deleted\": true}]]"), Errc::malformed,
       "detect.two: a list inside a list"},
      {with("{\"exe.deleted\": true}", "[]"), Errc::malformed, "detect.two: empty list"},
      {with("\"two\"", "\"not\""), Errc::malformed, "cannot be the name"},
      {with("one and not two", "one"), Errc::malformed, "detect.two: the condition does not use it"},
      {with("one and not two", "one and three"), Errc::malformed,
       "detect.condition: no selection is called \"three\""},
      {with("\"one and not two\"", "1"), Errc::malformed, "detect.condition: missing or not a string"},
      {with("{exe.path}", "{exe.pth}"), Errc::malformed, "explain: no field is called \"exe.pth\""},
      {with("{source}", "{source"), Errc::malformed, "next: { without }"},
      {with("\"title\"", "\"color\": 1, \"title\""), Errc::malformed, "color: not a field of a rule"},
      {with("\"title\"", "\"version\": 2, \"title\""), Errc::unsupported, "rule X-1: version"},
      {"{\"version\": 2, \"rules\": []}", Errc::unsupported, "file: version"},
      {"{\"rules\": [], \"suppressions\": []}", Errc::unsupported, "suppressions"},
      {"{\"rules\": {}}", Errc::malformed, "not a rule or a list"},
      {"[" + kGood + "," + kGood + "]", Errc::malformed, "rule X-1: id: used twice"},
      {std::string(11, '[') + std::string(11, ']'), Errc::limit, "file: "},
      {kGood + "x", Errc::malformed, "file: "},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 400));
    const auto rules = parse_rules(c.text, "file");
    ASSERT_FALSE(rules);
    EXPECT_EQ(rules.error().code, c.code);
    EXPECT_THAT(rules.error().what, HasSubstr(c.says));
  }
}

TEST(RuleFile, EveryPrefixIsRefused) {
  for (std::size_t size = 0; size < kGood.size(); ++size) {
    EXPECT_FALSE(parse_rules(kGood.substr(0, size), "cut")) << size;
  }
  for (const EmbeddedFile& file : embedded_files()) {
    const std::string_view text = file.json.substr(0, file.json.find_last_of('}'));
    for (std::size_t size = 0; size < text.size(); size += 1 + size / 97) {
      EXPECT_FALSE(parse_rules(text.substr(0, size), "cut")) << file.name << ' ' << size;
    }
    EXPECT_EQ(bool(parse_rules(file.json, "whole")), !is_data(file.name)) << file.name;
  }
}

TEST(RuleFile, FoldersJoinAndReplace) {
  char folder[] = "/tmp/ctriage-rules-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string base = folder;
  std::ofstream(base + "/a.json") << kGood;
  std::ofstream(base + "/b.json") << with("X-1", "CT-EXEC-001");
  std::ofstream(base + "/.c.json") << "not read";
  std::ofstream(base + "/notes.txt") << "not read";
  auto root = Root::open(base);
  ASSERT_TRUE(root);
  auto rules = load_rules(*root);
  ASSERT_TRUE(rules) << rules.error().what;
  ASSERT_EQ(rules->rules.size(), 2U);

  auto all = builtin_rules();
  ASSERT_TRUE(all) << all.error().what;
  const std::size_t before = all->rules.size();
  join_rules(*all, *std::move(rules));
  EXPECT_EQ(all->rules.size(), before + 1);
  EXPECT_EQ(all->rules.back().id, "X-1");
  const auto replaced = std::ranges::find(all->rules, "CT-EXEC-001", &Rule::id);
  ASSERT_NE(replaced, all->rules.end());
  EXPECT_EQ(replaced->severity, Severity::low);
  EXPECT_EQ(std::ranges::count(all->rules, "CT-EXEC-001", &Rule::id), 1);

  std::ofstream(base + "/d.json") << kGood;
  const auto twice = load_rules(*root);
  ASSERT_FALSE(twice);
  EXPECT_THAT(twice.error().what, HasSubstr("rule X-1: is in"));
  std::filesystem::remove(base + "/d.json");
  std::filesystem::create_symlink("/etc/passwd", base + "/e.json");
  EXPECT_FALSE(load_rules(*root));
  std::filesystem::remove_all(base);
}

// ---- The built-in rules ----

struct Found {
  std::vector<std::string> rules;
  std::vector<Finding> findings;
};

template <class T>
Found evaluate(const T& artifact) {
  auto rules = builtin_rules();
  EXPECT_TRUE(rules) << rules.error().what;
  Engine engine(*std::move(rules));
  Container container;
  container.id = "c1";
  container.image = Bytes("registry/web:1");
  Found found;
  const auto done = engine.evaluate(artifact, container, "shop/web", [&found](Finding&& finding) -> Status {
    found.rules.push_back(finding.rule);
    found.findings.push_back(std::move(finding));
    return Done{};
  });
  EXPECT_TRUE(done);
  return found;
}

constexpr std::uint64_t kPts = 136ULL << 32;  // /dev/pts/0

Process process_of(Origin origin, bool deleted, Membership membership = Membership::child,
                   std::uint64_t tty = 0) {
  Process process;
  process.container = "c1";
  process.pid = 48213;
  process.container_pid = 17;
  process.start_ticks = 99;
  process.tty = Hex{tty};
  process.membership = membership;
  process.exe.path = Bytes("/tmp/.x/kworkerd");
  process.exe.origin = origin;
  process.exe.deleted = deleted;
  process.credentials.uids = {0, 0, 0, 0};
  return process;
}

TEST(BuiltIn, Processes) {
  const struct {
    const char* name;
    Process process;
    std::vector<std::string> rules;
  } cases[] = {
      {"image", process_of(Origin::image, false), {}},
      {"host", process_of(Origin::host, false, Membership::alone), {}},
      {"host's, from inside", process_of(Origin::host, false, Membership::child), {"CT-EXEC-006"}},
      {"unknown", process_of(Origin::unknown, false), {}},
      {"deleted from upper", process_of(Origin::upper, true), {"CT-EXEC-001"}},
      {"deleted, origin too", process_of(Origin::deleted, true), {"CT-EXEC-001"}},
      {"memfd", process_of(Origin::memfd, true), {"CT-EXEC-002"}},
      {"upper", process_of(Origin::upper, false), {"CT-EXEC-003"}},
      {"tmpfs", process_of(Origin::tmpfs, false), {"CT-EXEC-003"}},
      {"volume", process_of(Origin::volume, false), {"CT-EXEC-003"}},
      {"exec with terminal",
       process_of(Origin::image, false, Membership::executed_in, kPts),
       {"CT-EXEC-004"}},
      {"probe", process_of(Origin::image, false, Membership::executed_in, 0), {}},
      {"own terminal", process_of(Origin::image, false, Membership::init, kPts), {}},
      {"nsenter", process_of(Origin::host, false, Membership::entered, 0), {"CT-EXEC-004"}},
      {"escaped", process_of(Origin::host, false, Membership::escaped), {"CT-EXEC-005"}},
      {"entered, from memory",
       process_of(Origin::memfd, true, Membership::entered),
       {"CT-EXEC-002", "CT-EXEC-004"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto found = evaluate(c.process).rules;
    std::ranges::sort(found);
    EXPECT_EQ(found, c.rules);
  }
}

TEST(BuiltIn, MappedLibraries) {
  const struct {
    std::optional<Origin> origin;
    std::vector<std::string> rules;
  } cases[] = {{std::nullopt, {}},
               {Origin::image, {}},
               {Origin::unknown, {}},
               {Origin::upper, {"CT-LIB-002"}},
               {Origin::tmpfs, {"CT-LIB-002"}},
               {Origin::volume, {"CT-LIB-002"}},
               {Origin::memfd, {"CT-LIB-001"}},
               {Origin::deleted, {"CT-LIB-001"}},
               {Origin::host, {"CT-LIB-003"}}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.origin ? to_text(*c.origin) : "none");
    Mapping mapping;
    mapping.container = "c1";
    mapping.pid = 48213;
    mapping.path = Bytes("/tmp/x.so");
    mapping.origin = c.origin;
    const auto found = evaluate(mapping);
    EXPECT_EQ(found.rules, c.rules);
    for (const Finding& finding : found.findings) {
      EXPECT_EQ(finding.pid, 48213);
      EXPECT_EQ(finding.artifact, "mapping");
      EXPECT_EQ(finding.path, Bytes("/tmp/x.so"));
      EXPECT_TRUE(finding.what.raw.ends_with(": /tmp/x.so")) << finding.what.raw;
    }
  }
}

TEST(BuiltIn, FindingSaysWhatWhereAndNext) {
  const auto findings = evaluate(process_of(Origin::upper, true)).findings;
  ASSERT_EQ(findings.size(), 1U);
  const Finding& finding = findings.front();
  EXPECT_EQ(finding.id, "F1");
  EXPECT_EQ(finding.severity, Severity::critical);
  EXPECT_EQ(finding.pid, 48213);
  EXPECT_EQ(finding.container, "c1");
  EXPECT_EQ(finding.artifact, "process");
  EXPECT_EQ(finding.what.raw, "pid 48213 (17 inside), uid 0, runs a deleted file: /tmp/.x/kworkerd");
  EXPECT_EQ(finding.next.raw, "ctriage show {source} F1");
  Process archived = process_of(Origin::upper, true);
  archived.pid = archived.container_pid;  // as in a checkpoint
  EXPECT_EQ(evaluate(archived).findings.at(0).what.raw,
            "pid 17, uid 0, runs a deleted file: /tmp/.x/kworkerd");
  archived.exe.path = Bytes("/tmp/pid 17 (17 inside)");
  EXPECT_TRUE(evaluate(archived).findings.at(0).what.raw.ends_with("/tmp/pid 17 (17 inside)"));
  // printf '11:CT-EXEC-00111:c1/48213/99' | sha256sum | cut -c1-12
  EXPECT_EQ(finding.key, "7920b0b3980e");
}

FileChange change_of(ChangeKind kind, std::optional<std::uint32_t> before, std::optional<std::uint32_t> after,
                     FileType type = FileType::regular, std::uint32_t owner = 0) {
  const auto state = [&](std::uint32_t mode) {
    FileState made;
    made.type = type;
    made.mode = mode;
    made.uid = owner;
    made.gid = owner;
    return made;
  };
  FileChange change;
  change.container = "c1";
  change.path = Bytes("/usr/local/bin/.httpd");
  change.kind = kind;
  if (before) change.before = state(*before);
  if (after) change.after = state(*after);
  return change;
}

TEST(BuiltIn, SetuidFiles) {
  using enum ChangeKind;
  const struct {
    const char* name;
    FileChange change;
    bool found;
  } cases[] = {
      {"added setuid", change_of(added, {}, 04755), true},
      {"added setgid", change_of(added, {}, 02755), true},
      {"added plain", change_of(added, {}, 0755), false},
      {"sticky only", change_of(added, {}, 01755), false},
      {"made so", change_of(metadata, 0755, 04755), true},
      {"was so", change_of(metadata, 04755, 04711), false},
      {"setgid joins setuid", change_of(metadata, 04755, 06755), true},
      {"bytes of a setuid file replaced", change_of(content, 04755, 04755), true},
      {"copied up only", change_of(unchanged, 04755, 04755), false},
      {"deleted", change_of(deleted, 04755, {}), false},
      {"setgid directory", change_of(added, {}, 02775, FileType::directory), false},
      {"of another user", change_of(added, {}, 04755, FileType::regular, 1000), false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto found = evaluate(c.change);
    EXPECT_EQ(found.rules.size(), c.found ? 1U : 0U);
    if (c.found && !found.findings.empty()) {
      EXPECT_EQ(found.findings[0].rule, "CT-FILE-001");
      EXPECT_EQ(found.findings[0].path->raw, "/usr/local/bin/.httpd");
    }
  }
}

TEST(Engine, NumbersGoOnAndRefusalEnds) {
  Engine engine(*builtin_rules());
  Container container;
  std::vector<std::string> ids;
  const auto keep = [&ids](Finding&& finding) -> Status {
    ids.push_back(finding.id);
    return Done{};
  };
  ASSERT_TRUE(engine.evaluate(process_of(Origin::memfd, true), container, "x", keep));
  ASSERT_TRUE(engine.evaluate(process_of(Origin::image, false), container, "x", keep));
  ASSERT_TRUE(engine.evaluate(change_of(ChangeKind::added, {}, 04755), container, "x", keep));
  EXPECT_THAT(ids, ElementsAre("F1", "F2"));
  const auto full = engine.evaluate(process_of(Origin::memfd, true), container, "x", [](Finding&&) -> Status {
    return Error{Errc::full, "disk full"};
  });
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::full);
}

TEST(Engine, MissingAndListFields) {
  const auto rules = parse_rules(
      R"([{"id": "A", "title": "t", "severity": "info", "artifact": "process",
           "detect": {"s": {"exe.sha256": ["ab", ""]}, "condition": "s"}, "explain": "{exe.sha256} {argv}", "next": "n"},
          {"id": "B", "title": "t", "severity": "info", "artifact": "process",
           "detect": {"s": {"argv": "-i"}, "condition": "s"}, "explain": "{argv} {exe.sha256}", "next": "x {argv}"},
          {"id": "C", "title": "t", "severity": "info", "artifact": "process",
           "detect": {"s": {"exe.sha256": "ab"}, "condition": "not s"}, "explain": "e", "next": "n"}])",
      "file");
  ASSERT_TRUE(rules) << rules.error().what;
  Engine engine(*rules);
  Process process = process_of(Origin::image, false);
  process.argv = {Bytes("sh"), Bytes("-i"), Bytes("$(reboot)"), Bytes("{source}")};
  std::vector<Finding> found;
  const auto keep = [&found](Finding&& finding) -> Status {
    found.push_back(std::move(finding));
    return Done{};
  };
  ASSERT_TRUE(engine.evaluate(process, Container{}, "x", keep));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].rule, "B");
  EXPECT_EQ(found[0].what.raw, "sh -i $(reboot) {source} ?");
  EXPECT_EQ(found[0].next.raw, "x 'sh -i $(reboot) {''source}'");
  EXPECT_EQ(found[1].rule, "C");
}

}  // namespace
}  // namespace ctriage::rules
