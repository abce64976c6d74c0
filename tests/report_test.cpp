#include "lib/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/collect_screen.h"
#include "lib/report/diff.h"
#include "lib/report/list.h"
#include "lib/report/progress.h"
#include "lib/report/screen.h"
#include "lib/report/show.h"
#include "lib/report/text.h"
#include "tests/fake_snapshot.h"

namespace ctriage::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Captured {
  std::atomic<bool> stop = false;
  GapLog gaps;
  Task task{gaps, stop, [] { return Timestamp{1'795'201'000, 0}; }};
  std::string text;
  Out out = [this](std::string_view more) -> Status {
    text += more;
    return Done{};
  };
};

// Nothing that a terminal acts on, whatever the evidence holds.
void expect_harmless(const std::string& text) {
  EXPECT_TRUE(is_utf8(text));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    ASSERT_TRUE((byte >= 0x20 && byte != 0x7f) || c == '\n') << "byte " << int{byte};
  }
  EXPECT_THAT(text, Not(HasSubstr("\xe2\x80\xae")));  // right-to-left override
  EXPECT_THAT(text, Not(HasSubstr("\xe2\x80\x8b")));  // zero width space
  EXPECT_THAT(text, Not(HasSubstr("\xc2\x9b")));      // CSI of 8 bits
  EXPECT_THAT(text, Not(HasSubstr("\nF9")));          // the name's own line
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(CTRIAGE_GOLDEN) + "/report/" + name + ".txt";
  if (getenv("CTRIAGE_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  std::ifstream file(path, std::ios::binary);
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, golden) << path;
}

// ---- Values ----

TEST(ReportText, Safe) {
  const struct {
    std::string raw;
    const char* safe;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"a b", "a b"},
      {"a  b", "a \\x20b"},
      {" a", "\\x20a"},
      {"a ", "a\\x20"},
      {"   ", "\\x20\\x20\\x20"},
      {"\x1b[31m", "\\x1b[31m"},
      {"a\nb", "a\\nb"},
      {"a\\b", "a\\\\b"},
      {"\xff", "\\xff"},
      {"\xc3\xa4", "\xc3\xa4"},
  };
  for (const auto& c : cases) EXPECT_EQ(safe(c.raw), c.safe);
  EXPECT_EQ(safe_command({Bytes("sh"), Bytes("-c"), Bytes("a b"), Bytes("")}), "sh -c \"a b\" \"\"");
  EXPECT_EQ(safe_command({Bytes("sh"), Bytes(std::string(600, 'x'))}, 10), "sh xxxxxxxx...");
  EXPECT_EQ(safe_command({}), "");
}

TEST(ReportText, Widths) {
  EXPECT_EQ(display_width(""), 0U);
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("\xc3\xa4"), 1U);
  EXPECT_EQ(display_width("a\xcc\x88"), 1U);                 // a with combining diaeresis
  EXPECT_EQ(display_width("\xe6\xbc\xa2\xe5\xad\x97"), 4U);  // two Han characters
  EXPECT_EQ(fit("abcdef", 6), "abcdef");
  EXPECT_EQ(fit("abcdefg", 6), "abc...");
  EXPECT_EQ(fit("abcdefg", 0), "abcdefg");
  EXPECT_EQ(fit("abcdefg", 2), "..");
  EXPECT_EQ(fit("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 5), "\xe6\xbc\xa2...");
  EXPECT_EQ(pad_left("ab", 4), "  ab");
  EXPECT_EQ(pad_right("\xe6\xbc\xa2", 4), "\xe6\xbc\xa2  ");
}

TEST(ReportText, Numbers) {
  const struct {
    std::uint64_t bytes;
    const char* text;
  } cases[] = {{0, "0"},           {1, "1B"},           {1023, "1023B"},     {1024, "1.0K"},
               {12'000, "12K"},    {1'234'567, "1.2M"}, {999 << 10, "999K"}, {1023ULL << 10, "1.0M"},
               {UINT64_MAX, "16E"}};
  for (const auto& c : cases) EXPECT_EQ(column_size(c.bytes), c.text) << c.bytes;
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1'000), "1,000");
  EXPECT_EQ(with_commas(1'234'567), "1,234,567");
  EXPECT_EQ(clock_seconds({1'795'200'099, 5}), "18:41:39Z");
  EXPECT_EQ(clock_seconds({INT64_MAX, 0}), "@9223372036854775807");
  EXPECT_EQ(clock_text({1'795'200'099, 180'000'000}), "18:41:39.180Z");
  EXPECT_TRUE(is_secret_name("DB_PASSWORD"));
  EXPECT_TRUE(is_secret_name("aws_secret_access"));
  EXPECT_FALSE(is_secret_name("PATH"));
}

TEST(ReportTally, Texts) {
  FindingTally findings;
  EXPECT_EQ(findings.text(), "none");
  EXPECT_FALSE(findings.worst());
  findings.add(Severity::high);
  findings.add(Severity::critical);
  findings.add(Severity::high);
  EXPECT_EQ(findings.text(), "1 critical, 2 high");
  EXPECT_EQ(findings.worst(), Severity::critical);
  ChangeTally changes;
  EXPECT_EQ(changes.text(), "0 changes");
  changes.add(ChangeKind::runtime_stub);
  EXPECT_EQ(changes.text(), "1 change: 1 runtime stub");

  GapTally gaps;
  EXPECT_EQ(gaps.text(), "none");
  for (int i = 0; i < 2'000; ++i) {  // more kinds than are kept: every gap is still counted
    gaps.add(Gap{Impact::lost, "kind" + std::to_string(i), "x", {Errc::io, "x: bad"}});
  }
  gaps.add(Gap{Impact::note, "late", "x", {Errc::io, "x: bad"}});
  EXPECT_EQ(gaps.text(), "2,000 lost, 1 note");
  const auto lines = gaps.lines(2);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], "lost     kind0: x: bad");
  EXPECT_EQ(lines[2], "... 1,999 more gaps of other kinds");
}

// ---- Whole outputs ----

class ReportScreens : public ::testing::TestWithParam<unsigned> {
 protected:
  [[nodiscard]] std::string named(const std::string& name) const {
    return name + '-' + std::to_string(GetParam());
  }
  void check(const std::string& name, const std::string& text) const {
    SCOPED_TRACE(name);
    expect_harmless(text);
    expect_golden(named(name), text);
  }
  Style style{.color = false, .width = GetParam()};
  test::FakeSnapshot fake = test::make_intrusion();
  Captured run;
};
INSTANTIATE_TEST_SUITE_P(Widths, ReportScreens, ::testing::Values(120U, 80U));

TEST_P(ReportScreens, Overview) {
  ShowOptions options;
  options.source = "x.tar";
  const auto outcome = show_text(fake, options, style, run.out, run.task);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->worst, Severity::critical);
  EXPECT_EQ(outcome->lost, 6U);
  EXPECT_THAT(run.text, Not(HasSubstr("hunter2")));
  check("overview", run.text);
}

TEST_P(ReportScreens, OverviewOfLittle) {
  fake.missing = {Facet::threads, Facet::mappings, Facet::sockets,
                  Facet::changes, Facet::findings, Facet::gaps};
  fake.processes.clear();
  const auto outcome = show_text(fake, {}, style, run.out, run.task);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->worst);
  EXPECT_EQ(run.gaps.total(), 0U);  // what covers() calls none is not asked for
  check("overview-little", run.text);
}

TEST_P(ReportScreens, Sections) {
  ShowOptions options;
  options.all = true;
  fake.missing = {Facet::mounts};
  ASSERT_TRUE(show_text(fake, options, style, run.out, run.task));
  EXPECT_THAT(run.text, HasSubstr("DB_PASSWORD=hunter2"));
  check("sections", run.text);
}

TEST_P(ReportScreens, OneProcess) {
  ShowOptions options;
  options.pid = 48017;
  ASSERT_TRUE(show_text(fake, options, style, run.out, run.task));
  EXPECT_THAT(run.text, Not(HasSubstr("48023")));
  check("process", run.text);
  options.pid = 7;
  const auto missing = show_text(fake, options, style, run.out, run.task);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
}

TEST_P(ReportScreens, Findings) {
  ShowOptions options;
  options.source = "x.tar";
  const auto outcome = show_finding_text(fake, "F1", options, style, run.out, run.task);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->worst, Severity::critical);
  EXPECT_THAT(run.text, HasSubstr("not shown: ctriage show x.tar --maps --pid 48017\n"));
  check("finding-process", run.text);
  run.text.clear();
  ASSERT_TRUE(show_finding_text(fake, "0123456789a3", options, style, run.out, run.task));
  check("finding-file", run.text);
  const auto missing = show_finding_text(fake, "F7", options, style, run.out, run.task);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().what, "no finding F7; there are F1, F2, F3");
}

TEST_P(ReportScreens, Diff) {
  const auto outcome = diff_text(fake, {"x.tar", false}, style, run.out, run.task);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->lost, 6U);
  EXPECT_THAT(run.text, Not(HasSubstr("/etc/hosts")));
  check("diff", run.text);
  run.text.clear();
  ASSERT_TRUE(diff_text(fake, {"x.tar", true}, style, run.out, run.task));
  check("diff-all", run.text);
  fake.missing = {Facet::changes};
  run.text.clear();
  const auto text = diff_text(fake, {"x.tar", false}, style, run.out, run.task);
  const auto json = diff_json(fake, {"x.tar", false}, Format::json, run.out, run.task);
  ASSERT_TRUE(!text && !json);
  EXPECT_EQ(text.error().code, Errc::unsupported);
  EXPECT_EQ(json.error().what, text.error().what);
  EXPECT_EQ(run.text, "");
}

TEST_P(ReportScreens, List) {
  const auto row = [this](std::string pod, ContainerState state) {
    ListRow made;
    made.container = fake.containers[0];
    made.container.pod = PodRef{"shop", std::move(pod), "", ""};
    made.container.state = state;
    made.container.rights.clear();
    made.processes = 7;
    made.runs = {Origin::image};
    return made;
  };
  std::vector<ListRow> rows{
      row("web", ContainerState::running),   row("pay\x1b[31m", ContainerState::running),
      row("agent", ContainerState::running), row("old", ContainerState::exited),
      row("job", ContainerState::recovered), row("us", ContainerState::running),
      row("web", ContainerState::running)};
  rows[1].runs = {Origin::image, Origin::deleted};
  rows[1].executed_in = true;
  rows[1].upper_bytes = 214ULL << 20;
  rows[2].container.rights = {"priv", "hostPID", "/"};
  rows[3].runs.clear();
  rows[3].processes.reset();
  rows[4].runs.clear();
  rows[4].processes.reset();
  rows[5].ourselves = true;
  rows[6].container.sandbox = true;
  const ListHead head{Bytes("ip-10-0-3-17"), "x86_64", Bytes("containerd 1.7.27"), {1'795'211'520, 0}};
  check("list", list_text(head, rows, {}, {}, style));
  check("list-size", list_text(head, rows, {}, {.all = false, .sandboxes = true, .size = true}, style));
  ListHead nothing = head;
  nothing.engine = {};
  check("list-empty", list_text(nothing, {}, {}, {}, style));
  std::vector<ListRow> many(30, rows[0]);
  many[29] = rows[1];
  const std::string text = list_text(head, many, {}, {}, style);
  EXPECT_THAT(text, HasSubstr("... 21 more with nothing to remark (--all)"));
  EXPECT_THAT(list_text(head, many, {}, {.all = true}, style), Not(HasSubstr("more with nothing")));
}

TEST_P(ReportScreens, Collect) {
  std::string text;
  const Screen screen([&text](std::string_view more) { text += more; }, style);
  screen.line("target", "shop/web\x1b[31m on ip-10-0-3-17: 2 containers", "12:03:07.180Z");
  screen.phase(1, "state", 640'000'000, "9 processes, 31 sockets", "sealed, digest 9f3c51aa07d2e61b");
  for (const Finding& finding : fake.findings) screen.finding(finding);
  Closing closing;
  closing.took_ns = 10'400'000'000;
  closing.exit_status = 3;
  closing.changes_taken = true;
  for (const Finding& finding : fake.findings) closing.findings.add(finding.severity);
  for (const FileChange& change : fake.changes) closing.changes.add(change.kind);
  for (const GapRecord& gap : fake.gaps) closing.gaps.add(gap);
  closing.left_out = {"memory (not in this version)", "volumes"};
  closing.touched = "0 bytes in the container, 0 ms frozen";
  closing.bundle = Bytes("/evidence/a b\n.ctriage.tar");
  closing.bundle_bytes = 188ULL << 20;
  closing.sha256 = std::string(64, 'c');
  closing.next = {{"ctriage show BUNDLE", "what happened"}, {"ctriage verify BUNDLE", "is it whole"}};
  screen.closing(closing);
  screen.closing(Closing{});
  check("collect", text);
}

// ---- Other ----

TEST(ReportHostile, RingsAndCrowdsOfProcesses) {
  test::FakeSnapshot fake = test::make_intrusion();
  fake.processes.resize(3);
  fake.processes[0].ppid = fake.processes[2].pid;  // 0 -> 2 -> 1 -> 0
  fake.processes[1].ppid = fake.processes[1].pid;  // its own parent
  Captured ring;
  ASSERT_TRUE(show_text(fake, {}, {}, ring.out, ring.task));
  for (const char* pid : {"48001 ", "48017 ", "48018 "}) EXPECT_THAT(ring.text, HasSubstr(pid));
  ASSERT_TRUE(show_finding_text(fake, "F1", {}, {}, ring.out, ring.task));

  fake.processes.assign(20'010, fake.processes[0]);
  for (std::size_t i = 0; i < fake.processes.size(); ++i) {  // one long line of descent
    fake.processes[i].pid = static_cast<std::int32_t>(i + 1);
    fake.processes[i].ppid = static_cast<std::int32_t>(i);
  }
  Captured crowd;
  ASSERT_TRUE(show_text(fake, {}, {}, crowd.out, crowd.task));
  EXPECT_THAT(crowd.text, HasSubstr("processes 20,010, "));
  EXPECT_THAT(crowd.text, HasSubstr("... 10 more processes not shown"));
}

TEST(ReportHostile, RefusedOutputEnds) {
  test::FakeSnapshot fake = test::make_intrusion();
  for (const std::size_t most : {0U, 1U, 2U, 5U}) {
    Captured run;
    std::size_t calls = 0;
    const Out out = [&](std::string_view) -> Status {
      if (calls++ >= most) return Error{Errc::full, "no space"};
      return Done{};
    };
    ShowOptions all;
    all.all = true;
    const auto shown = show_text(fake, all, {}, out, run.task);
    ASSERT_FALSE(shown);
    EXPECT_EQ(shown.error().code, Errc::full);
    EXPECT_EQ(calls, most + 1);  // not asked again
  }
}

TEST(ReportColor, OnlyWhenAskedAndOnlyAroundWords) {
  test::FakeSnapshot fake = test::make_intrusion();
  Captured run;
  ASSERT_TRUE(show_text(fake, {}, {.color = true, .width = 120}, run.out, run.task));
  EXPECT_THAT(run.text, HasSubstr("\x1b[1;31mCRIT\x1b[0m"));
  std::string plain = run.text;
  for (const char* code : {"\x1b[1;31m", "\x1b[31m", "\x1b[33m", "\x1b[0m"}) {
    for (auto at = plain.find(code); at != std::string::npos; at = plain.find(code))
      plain.erase(at, strlen(code));
  }
  Captured bare;
  ASSERT_TRUE(show_text(fake, {}, {.color = false, .width = 120}, bare.out, bare.task));
  EXPECT_EQ(plain, bare.text);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (const std::string_view line : split(text, '\n')) {
    if (!line.empty()) lines.emplace_back(line);
  }
  return lines;
}

bool is_ascii(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n'; });
}

TEST(ReportJson, LinesAreArtifacts) {
  test::FakeSnapshot fake = test::make_intrusion();
  Captured run;
  ShowOptions options;
  options.all = true;
  const auto outcome = show_json(fake, options, Format::jsonl, run.out, run.task);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->lost, 6U);
  EXPECT_TRUE(is_ascii(run.text));
  std::size_t processes = 0;
  for (const std::string& line : lines_of(run.text)) {
    EXPECT_THAT(line, StartsWith("{\"schema\":\"ctriage."));
    if (line.find("\"ctriage.process/1\"") == std::string::npos) continue;
    const auto back = parse_artifact<Process>(line);
    ASSERT_TRUE(back) << back.error().what;
    EXPECT_EQ(back->exe.path, fake.processes[processes].exe.path);
    ++processes;
  }
  EXPECT_EQ(processes, fake.processes.size());

  Captured diff;
  const auto changed = diff_json(fake, {}, Format::jsonl, diff.out, diff.task);
  ASSERT_TRUE(changed);
  const auto lines = lines_of(diff.text);
  ASSERT_EQ(lines.size(), 1 + fake.changes.size() + enum_names(Facet{}).size() + fake.gaps.size());
  for (std::size_t i = 0; i < fake.changes.size(); ++i) {
    EXPECT_THAT(lines[i + 1], StartsWith("{\"schema\":\"ctriage.file_change/1\","));
    EXPECT_EQ(parse_artifact<FileChange>(lines[i + 1])->path, fake.changes[i].path);
  }
}

// One source, one exit status: what a reader asked of it does not change what it lacks.
TEST(ReportJson, EveryViewCountsAndCarriesTheGapsOfTheSource) {
  test::FakeSnapshot fake = test::make_intrusion();
  ShowOptions overview;
  overview.source = "a b.tar";
  ShowOptions section;
  section.processes = true;
  const std::vector<std::function<Result<Outcome>(Captured&, Format)>> views{
      [&](Captured& run, Format format) {
        return format == Format::text ? show_text(fake, overview, {}, run.out, run.task)
                                      : show_json(fake, overview, format, run.out, run.task);
      },
      [&](Captured& run, Format format) {
        return format == Format::text ? show_text(fake, section, {}, run.out, run.task)
                                      : show_json(fake, section, format, run.out, run.task);
      },
      [&](Captured& run, Format format) {
        return format == Format::text ? show_finding_text(fake, "F1", overview, {}, run.out, run.task)
                                      : show_finding_json(fake, "F1", overview, format, run.out, run.task);
      },
      [&](Captured& run, Format format) -> Result<Outcome> {
        auto told = format == Format::text ? diff_text(fake, {}, {}, run.out, run.task)
                                           : diff_json(fake, {}, format, run.out, run.task);
        if (!told) return std::move(told).error();
        return Outcome(*told);
      }};
  for (std::size_t i = 0; i < views.size(); ++i) {
    for (const Format format : {Format::text, Format::json, Format::jsonl}) {
      SCOPED_TRACE(std::to_string(i) + '/' + std::to_string(static_cast<int>(format)));
      Captured run;
      const auto outcome = views[i](run, format);
      ASSERT_TRUE(outcome) << outcome.error().what;
      EXPECT_EQ(outcome->lost, 6U);
      if (format == Format::text) {
        EXPECT_THAT(run.text, HasSubstr("6 lost, 1 note"));
        continue;
      }
      EXPECT_THAT(run.text, HasSubstr("48350: exited while it was read"));
      EXPECT_THAT(run.text, HasSubstr("redirected directories are not followed"));
      if (format == Format::json) continue;
      const auto lines = lines_of(run.text);
      EXPECT_THAT(lines.front(), StartsWith("{\"schema\":\"ctriage.source/1\","));
      EXPECT_THAT(lines[lines.size() - 1 - fake.gaps.size()],
                  StartsWith("{\"schema\":\"ctriage.coverage/1\","));
      for (std::size_t gap = 1; gap <= fake.gaps.size(); ++gap) {
        EXPECT_THAT(lines[lines.size() - gap], StartsWith("{\"schema\":\"ctriage.gap/1\","));
      }
    }
  }
}

// What reading gave just now stands beside what the source recorded, in every view.
TEST(ReportGaps, OfNowAreInEveryView) {
  test::FakeSnapshot fake = test::make_intrusion();
  ShowOptions section;
  section.processes = true;
  const std::vector<std::function<Result<Outcome>(Captured&)>> views{
      [&](Captured& run) { return show_text(fake, {}, {}, run.out, run.task); },
      [&](Captured& run) { return show_text(fake, section, {}, run.out, run.task); },
      [&](Captured& run) { return show_finding_text(fake, "F1", {}, {}, run.out, run.task); },
      [&](Captured& run) { return diff_text(fake, {}, {}, run.out, run.task); },
      [&](Captured& run) { return show_json(fake, section, Format::json, run.out, run.task); },
      [&](Captured& run) { return diff_json(fake, {}, Format::json, run.out, run.task); }};
  for (std::size_t i = 0; i < views.size(); ++i) {
    SCOPED_TRACE(i);
    Captured run;
    run.gaps.add({Impact::lost, "proc.maps", "pid 7", {Errc::denied, "closed to us"}});
    for (int n = 0; n < 1'100; ++n) {  // more than the log keeps
      run.gaps.add({Impact::lost, "proc.exe", "pid " + std::to_string(n), {Errc::vanished, "ended"}});
    }
    const auto outcome = views[i](run);
    ASSERT_TRUE(outcome) << outcome.error().what;
    EXPECT_EQ(outcome->lost, 6U + 1U + 1'100U);
    EXPECT_THAT(run.text, HasSubstr("closed to us"));
    EXPECT_THAT(run.text, HasSubstr(i < 4 ? "1,107 lost" : "and 100 more like this"));
  }
}

// --fail-on asks for the findings, whatever is shown.
TEST(ReportFindings, AreEvaluatedWhenAskedFor) {
  test::FakeSnapshot fake = test::make_intrusion();
  for (const bool judge : {false, true}) {
    SCOPED_TRACE(judge);
    ShowOptions section;
    section.mounts = true;
    section.judge = judge;
    Captured run;
    const auto shown = show_text(fake, section, {}, run.out, run.task);
    const auto text = diff_text(fake, {.source = "x", .judge = judge}, {}, run.out, run.task);
    ASSERT_TRUE(shown && text);
    const auto expected = judge ? std::optional(Severity::critical) : std::nullopt;
    EXPECT_EQ(shown->worst, expected);
    EXPECT_EQ(text->worst, expected);
    EXPECT_EQ(run.text.find("-- findings: 2 critical, 1 high\n") != std::string::npos, judge);
    const auto json = diff_json(fake, {.source = "x", .judge = judge}, Format::json, run.out, run.task);
    ASSERT_TRUE(json);
    EXPECT_EQ(json->worst, expected);
  }
}

TEST(ReportSections, WhichAreWanted) {
  ShowOptions none;
  EXPECT_TRUE(none.overview());
  EXPECT_FALSE(none.wants(&ShowOptions::processes));
  ShowOptions one;
  one.maps = true;
  EXPECT_FALSE(one.overview());
  EXPECT_TRUE(one.wants(&ShowOptions::maps));
  EXPECT_FALSE(one.wants(&ShowOptions::mounts));
  ShowOptions all = one;
  all.all = true;
  EXPECT_TRUE(all.wants(&ShowOptions::mounts));
  ShowOptions pid;
  pid.pid = 7;
  EXPECT_FALSE(pid.overview());
  EXPECT_TRUE(pid.wants(&ShowOptions::threads));
  EXPECT_FALSE(pid.wants(&ShowOptions::mounts));
  pid.mounts = true;
  EXPECT_TRUE(pid.wants(&ShowOptions::mounts));
  EXPECT_FALSE(pid.wants(&ShowOptions::threads));
}

// "None" is never confused with "cannot know".
TEST(ReportList, WhoCannotLookDoesNotSayNone) {
  const std::vector<Gap> closed{
      {Impact::lost, "runtime.shim", "12 processes", {Errc::denied, "closed (needs CAP_SYS_PTRACE)"}}};
  const std::string blind = list_text({Bytes("n"), "x86_64", {}, {}}, {}, closed, {}, {});
  EXPECT_THAT(blind, Not(HasSubstr("0 running")));
  EXPECT_THAT(blind, Not(HasSubstr("no containers found")));
  EXPECT_THAT(blind, HasSubstr("not known"));
  EXPECT_THAT(blind, HasSubstr("CAP_SYS_PTRACE"));
  const std::string none = list_text({Bytes("n"), "x86_64", {}, {}}, {}, {}, {}, {});
  EXPECT_THAT(none, HasSubstr("0 running"));
  EXPECT_THAT(none, HasSubstr("gaps      none"));
}

TEST(ReportProgress, OnceASecondAfterTheFirst) {
  std::int64_t now_ns = 0;
  std::string drawn;
  ProgressLine line([&](std::string_view text) { drawn += text; }, [&] { return now_ns; });
  Meter meter;
  meter.bytes = 3ULL << 30;
  const auto at = [&](std::int64_t ms) {
    drawn.clear();
    now_ns = ms * 1'000'000;
    line.draw(meter);
    return drawn;
  };
  EXPECT_EQ(at(999), "");
  line.clear();
  EXPECT_EQ(drawn, "");  // nothing to wipe
  EXPECT_EQ(at(1'000), "\r\x1b[K1s ... 3.0 GiB");
  EXPECT_EQ(at(1'999), "");
  meter.entries = 1'204;
  EXPECT_EQ(at(75'000), "\r\x1b[K1m ... 1,204 files, 3.0 GiB");
  drawn.clear();
  line.clear();
  EXPECT_EQ(drawn, "\r\x1b[K");
  line.clear();
  EXPECT_EQ(drawn, "\r\x1b[K");
}

TEST(ReportCollect, SummaryHasTheWordsOfTheScreen) {
  std::string screen;
  CollectScreen collect([&](std::string_view text) { screen += text; }, {.color = true, .width = 80});
  collect.held(412, 1, 2, false, {1'795'200'099, 0});
  collect.phase_ended(1, "state", 640'000'000, "9 processes", "9f3c51aa07d2e61b9999");
  collect.changed(ChangeKind::added);
  collect.gap({Impact::degraded, "atime", "/x\x1b[31m", {Errc::denied, "no"}});
  const std::string summary = collect.summary_text(1'500'000'000, true);
  expect_harmless(summary);
  EXPECT_THAT(summary,
              HasSubstr("412 files, 1 program, 2 tmpfs are open now and outlive the container; not all"));
  EXPECT_THAT(summary, HasSubstr("sealed, digest 9f3c51aa07d2e61b\n"));
  EXPECT_THAT(summary,
              HasSubstr("took      1500 ms\nfindings  none; 1 change: 1 added\ngaps      1 degraded\n"));
  EXPECT_FALSE(collect.link_times_kept());
  CollectResult touched;
  touched.resident_growth_bytes = -2048;
  touched.cpu_ns = 2'150'000'000;
  touched.frozen_ns = 11'000'001;
  EXPECT_EQ(touched_text(touched, false),
            "0 bytes in the container, 12 ms frozen, its memory -2 KiB, access times of links may have "
            "changed, 2.1 CPU s");
}

TEST(ReportVerify, TextAndJson) {
  VerifyResult result;
  result.path = Bytes("a\x1b b.tar");
  result.verdict = Soundness::cut;
  result.members = 1;
  result.streams = 2;
  result.problem_count = 3;
  result.problems = {Bytes("x\n: bad")};
  result.not_whole = {{Bytes("gaps.jsonl"), 7, false, Bytes("no room")}};
  result.gaps = {{Impact::degraded, "sandbox", Bytes("landlock"), Errc::unsupported, Bytes("none"), {}}};
  const std::string text = verify_text(result, false, {});
  expect_harmless(text);
  for (const char* part :
       {"1 member, 2 streams", "verdict   CUT: ", "phase (none)", "problem   x\\n: bad",
        "problem   and 2 more", "custody   no records\n", "PARTLY    gaps.jsonl   7 B   no room\n",
        "gaps      1 degraded", "next      ctriage verify --salvage 'a"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const std::string json = verify_json(result);
  EXPECT_TRUE(is_ascii(json));
  EXPECT_THAT(json,
              StartsWith("{\"schema\":\"ctriage.verify/1\",\"path\":\"a\\u001b b.tar\",\"verdict\":\"cut\""));
  EXPECT_THAT(json, Not(HasSubstr("salvage")));
  EXPECT_THAT(json, HasSubstr("\"gaps\":[{\"impact\":\"degraded\""));
  result.verdict = Soundness::whole;
  result.salvage = {{Bytes("upper.tar"), 7, false, Bytes("cut")}};
  EXPECT_THAT(verify_text(result, false, {}), HasSubstr("PARTLY    upper.tar   7 B   cut\n"));
  CollectResult collected;
  collected.path = Bytes("p\xff");
  EXPECT_THAT(collect_json(collected), StartsWith("{\"schema\":\"ctriage.collect/1\",\"path\":\"p"));
  EXPECT_THAT(collect_json(collected), HasSubstr("\"gaps\":[]}"));
}

TEST(ReportJson, NextNamesTheSourceOfThisView) {
  test::FakeSnapshot fake = test::make_intrusion();
  ShowOptions options;
  options.source = "a b.tar";
  Captured show;
  ASSERT_TRUE(show_json(fake, options, Format::json, show.out, show.task));
  EXPECT_THAT(show.text, HasSubstr("\"next\":\"ctriage show 'a b.tar' F2\""));
  Captured one;
  ASSERT_TRUE(show_finding_json(fake, "F1", options, Format::json, one.out, one.task));
  EXPECT_THAT(one.text, StartsWith("{\"schema\":\"ctriage.show_finding/1\",\"source\":{"));
  EXPECT_THAT(one.text, HasSubstr("\"next\":\"ctriage show 'a b.tar' F1\""));
  options.source = "{source}";  // ends all the same
  Captured same;
  ASSERT_TRUE(show_finding_json(fake, "F1", options, Format::json, same.out, same.task));
  EXPECT_THAT(same.text, HasSubstr("\"next\":\"ctriage show '{source}' F1\""));
}

TEST(ReportJson, NamesOfAttributesKeepTheirBytes) {
  test::FakeSnapshot fake = test::make_intrusion();
  fake.changes.resize(1);
  fake.changes[0].after->xattrs = {{Bytes("user.\xff\xfe"), Bytes("x"), {}}};
  Captured run;
  ASSERT_TRUE(diff_json(fake, {}, Format::json, run.out, run.task));
  EXPECT_THAT(run.text, HasSubstr("\"name_b64\":\"dXNlci7//g==\""));
}

TEST(ReportJson, DocumentsAreJson) {
  // parse_artifact reads any object and skips unknown keys: what it accepts is one well-formed document.
  test::FakeSnapshot fake = test::make_intrusion();
  fake.processes.resize(400, fake.processes[0]);  // beyond one buffer, so that commas cross a flush
  ShowOptions all;
  all.all = true;
  Captured run;
  run.gaps.add(Gap{Impact::lost, "live.thing", "x\x1b", {Errc::io, "now"}});
  ASSERT_TRUE(show_json(fake, all, Format::json, run.out, run.task));
  EXPECT_TRUE(is_ascii(run.text));
  EXPECT_THAT(run.text, StartsWith("{\"schema\":\"ctriage.show/1\",\"source\":{"));
  EXPECT_THAT(run.text, HasSubstr("\"live.thing\""));
  EXPECT_TRUE(parse_artifact<Source>(run.text));
  EXPECT_GT(run.text.size(), 200'000U);
  for (const char* wanted : {"F1", "F3"}) {
    Captured one;
    ASSERT_TRUE(show_finding_json(fake, wanted, {}, Format::json, one.out, one.task));
    EXPECT_TRUE(parse_artifact<Source>(one.text));
    EXPECT_THAT(one.text, HasSubstr(std::string("\"id\":\"") + wanted));
  }
  Captured diff;
  ASSERT_TRUE(diff_json(fake, {}, Format::json, diff.out, diff.task));
  EXPECT_TRUE(parse_artifact<Source>(diff.text));
  const std::vector<Gap> gaps{{Impact::lost, "proc.process", "7\xff", {Errc::denied, "7: denied"}}};
  std::vector<ListRow> rows(2);
  rows[0].container = fake.containers[0];
  const std::string list =
      list_json({Bytes("\xff"), "x86_64", Bytes("containerd"), {}}, rows, gaps, Format::json);
  EXPECT_TRUE(parse_artifact<Source>(list));
  EXPECT_THAT(list, HasSubstr("\"node_b64\":\"/w==\""));
  EXPECT_TRUE(is_ascii(list));
  EXPECT_THAT(list, HasSubstr("\"gaps\":[{\"impact\":\"lost\",\"artifact\":\"proc.process\""));
  const auto lines = lines_of(list_json({}, rows, gaps, Format::jsonl));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[2], StartsWith("{\"schema\":\"ctriage.gap/1\","));
}

}  // namespace
}  // namespace ctriage::report
