// timeline: when, from everything in a source that has a time.
#include "lib/report/timeline.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/text.h"
#include "lib/report/listing.h"
#include "lib/source/open.h"
#include "lib/views/events.h"
#include "lib/views/order.h"

namespace ctriage {
namespace {

struct TimelineArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  std::string form = "text";
  std::string skew;
  std::string since;
  std::string until;
};

struct TimelineAsked {
  report::TimelineForm form = report::TimelineForm::text;
  bool one_document = false;  // of the form jsonl
  views::OrderOptions order;
};

Result<std::optional<Timestamp>> parse_time_of(const std::string& option, const std::string& typed) {
  Timestamp at;
  if (typed.empty()) return std::optional<Timestamp>();
  if (!parse_rfc3339(typed, at))
    return Error{Errc::malformed, option + " " + typed + ": not a time like 2026-11-21T19:28:51Z"};
  return std::optional(at);
}

Result<TimelineAsked> read_timeline_options(const TimelineArguments& arguments, const Common& common) {
  TimelineAsked asked;
  asked.form = parse_enum<report::TimelineForm>(arguments.form).value_or(asked.form);
  if (common.output_format() != report::Format::text) asked.form = report::TimelineForm::jsonl;
  asked.one_document = common.output_format() == report::Format::json;
  std::string_view skew = arguments.skew;
  const bool back = skew.starts_with('-');
  if (back || skew.starts_with('+')) skew.remove_prefix(1);
  const auto seconds =
      skew.empty() && arguments.skew.empty() ? std::optional<std::int64_t>(0) : parse_duration(skew);
  constexpr std::int64_t kMaxSkew = std::int64_t{100} * 366 * 86'400;
  if (!seconds || *seconds > kMaxSkew)
    return Error{Errc::malformed, "--skew " + arguments.skew + ": not a duration like +90s or -2h"};
  asked.order.skew_s = back ? -*seconds : *seconds;
  auto since = parse_time_of("--since", arguments.since);
  if (!since) return std::move(since).error();
  auto until = parse_time_of("--until", arguments.until);
  if (!until) return std::move(until).error();
  asked.order.since = *since;
  asked.order.until = *until;
  return asked;
}

bool is_within(const views::OrderOptions& order, Timestamp at) {
  at.seconds += order.skew_s;
  return (!order.since || at >= *order.since) && (!order.until || at < *order.until);
}

// A body file is sorted by who reads it; a file is one line with all its times, where any of them is meant.
Status write_bodyfile(Snapshot& snapshot, const TimelineAsked& asked, const report::ContainerNames& names,
                      const report::Out& out, Task& task) {
  const Emit<Event> event = [&](Event&& seen) -> Status {
    if (!is_within(asked.order, seen.at)) return Done{};
    seen.at.seconds += asked.order.skew_s;
    return out(report::timeline_line(asked.form, seen, names));
  };
  const Emit<views::FileAt> file = [&](views::FileAt&& seen) -> Status {
    const FileState& state = seen.file;
    const bool meant = is_within(asked.order, state.mtime) || is_within(asked.order, state.atime) ||
                       is_within(asked.order, state.ctime) ||
                       (state.btime && is_within(asked.order, *state.btime));
    const auto name = names.find(seen.container);
    if (!meant) return Done{};
    return out(
        report::bodyfile_line(seen.path, state, name == names.end() ? "" : name->second, asked.order.skew_s));
  };
  return views::list_events(snapshot, event, file, task);
}

Exit run_timeline(const TimelineAsked& asked, const source::TargetQuery& query, const Common& common,
                  Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  Snapshot& snapshot = **opened;
  report::ContainerNames names;
  const Emit<Container> name = [&](Container&& container) -> Status {
    names.emplace(container.id, report::container_name(container));
    return Done{};
  };
  const bool json = asked.form == report::TimelineForm::jsonl;
  const views::ListEventsAgain list = [&](const Emit<Event>& emit, Task& to) {
    return views::list_events(snapshot, emit, {}, to);
  };
  const report::ListAll<Event> in_order = [&](const Emit<Event>& emit) {
    return views::give_in_order(list, asked.order, emit, task);
  };
  Status told = snapshot.list_containers(name, task);
  if (told) told = io.out(report::timeline_head(asked.form));
  if (told && asked.form == report::TimelineForm::bodyfile) {
    told = write_bodyfile(snapshot, asked, names, io.out, task);
  } else if (told && json) {
    told = report::list_as_json<Event>("ctriage.timeline/1", "events", in_order,
                                       asked.one_document ? report::Format::json : report::Format::jsonl,
                                       io.out, task);
  } else if (told) {
    told = in_order([&](Event&& event) { return io.out(report::timeline_line(asked.form, event, names)); });
  }
  gaps.finish();
  if (!json || !told) tell_gaps(io, common, gaps);
  if (!told) return fail(io, told.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

}  // namespace

void add_timeline(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<TimelineArguments>();
  CLI::App* sub = app.add_subcommand("timeline", "What happened when, by everything that has a time");
  sub->group("Analysis");
  sub->add_option("source", arguments->words,
                  "pods, ns/pod/container, pid:N, or paths of bundles or checkpoints");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_label_option(*sub, arguments->query.labels);
  sub->add_option("--as", arguments->form, "text, jsonl, csv, timesketch, ecs or bodyfile (for mactime)")
      ->check(CLI::IsMember({"text", "jsonl", "csv", "timesketch", "ecs", "bodyfile"}));
  sub->add_option("--skew", arguments->skew,
                  "added to every time, for a clock that was wrong: --skew=+90s, --skew=-2h");
  sub->add_option("--since", arguments->since, "from this time on: 2026-11-21T19:00:00Z");
  sub->add_option("--until", arguments->until, "before this time");
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage timeline BUNDLE.ctriage.tar --since 2026-11-21T11:55:00Z\n"
      "  ctriage timeline shop/web-7d9f --as bodyfile | mactime -d -z UTC -b /dev/stdin\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->words.empty() && arguments->query.labels.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const auto asked = read_timeline_options(*arguments, common);
      if (!asked) {
        (void)fail(io, asked.error());
        return Exit::usage;
      }
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run_timeline(*asked, query, common, to);
      };
      return view_each(each_word(arguments->query, arguments->words), io, view);
    };
  });
}

}  // namespace ctriage
