// The order of events, the times of log lines, and the forms of a timeline.
#include <gtest/gtest.h>

#include <atomic>

#include "lib/report/timeline.h"
#include "lib/views/events.h"
#include "lib/views/log_times.h"
#include "lib/views/order.h"
#include "tests/fake_snapshot.h"

namespace ctriage {
namespace {

std::atomic<bool> never{false};

Task task_of(GapLog& gaps) {
  return Task{gaps, never, [] { return Timestamp{1'700'000'000, 0}; }};
}

Event event_at(std::int64_t seconds, const std::string& message) {
  Event event;
  event.at = {seconds, 0};
  event.what = "modified";
  event.message = Bytes(message);
  return event;
}

TEST(LogTimes, Lines) {
  const struct {
    const char* line;
    std::int64_t seconds;  // 0: none
  } cases[] = {{"2016-10-06T00:17:09.669794202Z stdout F text", 1475713029},
               {"2016-10-06T02:17:09.669794202+02:00 stderr P text", 1475713029},
               {R"({"log":"a\n","stream":"stdout","time":"2016-10-06T00:17:09.5Z"})", 1475713029},
               {R"({"log":"\"time\":\"2001-01-01T00:00:00Z\"","stream":"stdout"})", 0},
               {"", 0},
               {"{", 0},
               {"{\"time\":\"", 0},
               {"no time here", 0},
               {"2016-13-06T00:17:09Z stdout F", 0}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.line);
    const auto at = views::parse_log_time(c.line);
    EXPECT_EQ(at ? at->seconds : 0, c.seconds);
  }
}

TEST(LogTimes, EveryPrefix) {
  const std::string log = "2016-10-06T00:17:09Z stdout F a\nnot a time\n2016-10-06T00:17:11Z stdout F b\n";
  for (std::size_t size = 0; size <= log.size(); ++size) {
    MemorySource source(std::string_view(log).substr(0, size));
    const auto times = views::read_log_times(source);
    ASSERT_TRUE(bool(times));
    EXPECT_LE(times->lines, 3U);
    EXPECT_TRUE(!times->last || *times->last >= *times->first);
  }
  MemorySource whole(log);
  const auto times = views::read_log_times(whole);
  EXPECT_EQ(times->first->seconds, 1475713029);
  EXPECT_EQ(times->last->seconds, 1475713031);
  EXPECT_EQ(times->lines, 3U);
}

// However little is kept, the same comes out, and what is the same comes out once.
TEST(Order, InLittleMemory) {
  const views::ListEventsAgain list = [](const Emit<Event>& emit, Task& task) -> Status {
    task.gaps.add({Impact::lost, "x", "y", {Errc::io, "told once"}});
    for (std::int64_t i = 0; i < 500; ++i) {
      if (auto done = emit(event_at(1 + i * 7919 % 250, "m")); !done) return done;
    }
    return Done{};
  };
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{2'000}, std::size_t{20'000}, views::kMaxKeptBytes}) {
    GapLog gaps;
    Task task = task_of(gaps);
    std::vector<std::int64_t> given;
    views::OrderOptions options;
    options.most_bytes = bytes;
    const auto done = views::give_in_order(
        list, options,
        [&](Event&& event) -> Status {
          given.push_back(event.at.seconds);
          return Done{};
        },
        task);
    ASSERT_TRUE(bool(done));
    ASSERT_EQ(given.size(), 250U);
    for (std::size_t i = 0; i < given.size(); ++i) EXPECT_EQ(given[i], static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(gaps.count(Impact::lost), 1U);
  }
}

TEST(Order, SkewThenRange) {
  const views::ListEventsAgain list = [](const Emit<Event>& emit, Task&) -> Status {
    for (std::int64_t i = 0; i < 10; ++i) (void)emit(event_at(i, "m"));
    return Done{};
  };
  GapLog gaps;
  Task task = task_of(gaps);
  std::vector<std::int64_t> given;
  views::OrderOptions options{100, Timestamp{103, 0}, Timestamp{105, 0}};
  const Emit<Event> emit = [&](Event&& event) -> Status {
    given.push_back(event.at.seconds);
    return Done{};
  };
  ASSERT_TRUE(bool(views::give_in_order(list, options, emit, task)));
  EXPECT_EQ(given, (std::vector<std::int64_t>{103, 104}));
}

TEST(FileTimes, ForgedTimes) {
  views::FileAt found;
  found.path = Bytes("/x");
  found.is_new = true;
  found.file.type = FileType::regular;
  found.file.mtime = {1'000, 0};
  found.file.atime = {5'000, 0};
  found.file.ctime = {5'000, 0};
  found.file.btime = Timestamp{5'000, 0};
  auto events = views::events_of_file(found);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].what, "modified");
  EXPECT_EQ(events[1].what, "accessed, changed, born");
  EXPECT_NE(events[0].message.raw.find("born after it was modified"), std::string::npos);
  found.is_new = false;  // copied up with the time that the image has
  EXPECT_EQ(views::events_of_file(found)[0].message.raw.find("born after"), std::string::npos);
  found.file.mtime = {9'000, 0};
  EXPECT_NE(views::events_of_file(found)[0].message.raw.find("the time was set"), std::string::npos);
}

TEST(Forms, OneLineEach) {
  Event event = event_at(1'700'000'000, "a\nb|c\x1b[2J,\"d\"");
  event.path = Bytes("/tmp/=x\r\n|y");
  event.pid = 7;
  for (const std::string_view name : enum_names(report::TimelineForm{})) {
    SCOPED_TRACE(name);
    const auto form = *parse_enum<report::TimelineForm>(name);
    const std::string line = report::timeline_line(form, event, {});
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_EQ(line.find('\r'), std::string::npos);
    EXPECT_TRUE(form != report::TimelineForm::bodyfile || std::count(line.begin(), line.end(), '|') == 10)
        << line;
  }
  FileState file;
  file.type = FileType::regular;
  file.mode = 04755;
  file.mtime = {100, 0};
  file.ctime = {300, 0};
  file.inode = {9};
  file.size_bytes = 5;
  EXPECT_EQ(report::bodyfile_line(Bytes("/a|\nb"), file, "app", 10),
            "0|app:/a\\x7c\\nb|9|r/rrwsr-xr-x|0|0|5|0|110|310|0\n");
  EXPECT_EQ(report::csv_field("=1+1"), "'=1+1");
  EXPECT_EQ(report::csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
}

TEST(ListEvents, OfASnapshot) {
  auto snapshot = test::make_intrusion();
  GapLog gaps;
  Task task = task_of(gaps);
  std::size_t processes = 0;
  std::size_t findings = 0;
  const Emit<Event> emit = [&](Event&& event) -> Status {
    processes += event.kind == EventKind::process;
    findings += event.kind == EventKind::finding;
    EXPECT_FALSE(event.message.empty());
    return Done{};
  };
  ASSERT_TRUE(bool(views::list_events(snapshot, emit, {}, task)));
  std::size_t told = 0;
  for (const Process& process : snapshot.processes) told += process.started_at.has_value();
  EXPECT_EQ(processes, told);
  EXPECT_GT(processes, 0U);
  const Emit<Event> refuse = [](Event&&) -> Status { return Error{Errc::full, "no room"}; };
  EXPECT_FALSE(bool(views::list_events(snapshot, refuse, {}, task)));
}

}  // namespace
}  // namespace ctriage
