#include "lib/report/show.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "cmd/pid_option.h"
#include "lib/source/open.h"
#include "lib/verdict/verdict.h"
#include "lib/views/events.h"
#include "lib/views/order.h"

namespace ctriage {
namespace {

struct ShowArguments {
  source::TargetQuery query;       // what all sources share
  std::vector<std::string> words;  // sources, and after them a finding
  std::string finding;
  source::PidChoice pid;
  report::ShowOptions show;
};

Exit run_show(const ShowArguments& arguments, const source::TargetQuery& query, const Common& common,
              Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  Snapshot& snapshot = **opened;

  report::ShowOptions options = arguments.show;
  options.source = source_word(snapshot, query, task);
  options.judge = !common.fail_on.empty();
  options.every_gap = common.verbose;
  if (arguments.pid.pid > 0) options.pid = arguments.pid.pid;
  if (!arguments.pid.container.empty()) {
    const auto chosen = source::choose_one(snapshot, arguments.pid, task);
    if (!chosen) return fail(io, chosen.error());
    options.pid = chosen->pid;
    options.container = chosen->container;
  }
  const report::Format format = common.output_format();
  const bool text = format == report::Format::text;
  Result<report::Outcome> shown = report::Outcome{};
  if (!arguments.finding.empty()) {
    // Of what was found, not what was found again.
    Snapshot& bare = verdict::source_of(snapshot);
    options.around = [&bare](Timestamp at, const Emit<Event>& emit, Task& to) {
      const views::ListEventsAgain list = [&](const Emit<Event>& each, Task& with) {
        return views::list_events(bare, each, {}, with);
      };
      views::OrderOptions order;
      order.since = Timestamp(at);
      order.since->seconds -= report::kAroundSeconds;
      order.until = Timestamp(at);
      order.until->seconds += report::kAroundSeconds;
      return views::give_in_order(list, order, emit, to);
    };
    shown = text ? report::show_finding_text(snapshot, arguments.finding, options, io.out_style, io.out, task)
                 : report::show_finding_json(snapshot, arguments.finding, options, format, io.out, task);
  } else {
    shown = text ? report::show_text(snapshot, options, io.out_style, io.out, task)
                 : report::show_json(snapshot, options, format, io.out, task);
  }
  if (!shown) {
    tell_gaps(io, common, gaps);
    return fail(io, shown.error());
  }
  return exit_for(common, shown->worst, shown->lost);
}

bool is_key(const std::string& word) {
  constexpr std::size_t kKeyDigits = 12;
  return word.size() == kKeyDigits && word.find_first_not_of("0123456789abcdef") == word.npos;
}

// "F12", or a key: twelve hexadecimal digits, behind the one source it is of. Of several sources they are the
// beginning of a container's ID.
bool ends_with_finding(const std::vector<std::string>& words) {
  const std::string& word = words.back();
  if (word.size() > 1 && word[0] == 'F' && word.find_first_not_of("0123456789", 1) == word.npos) return true;
  return words.size() == 2 && is_key(word) && !is_key(words.front());
}

}  // namespace

void add_show(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* sub =
      app.add_subcommand("show", "Overview of a source, a part of it, or everything around a finding");
  sub->group("Analysis");
  sub->add_option(
         "source", arguments->words,
         "pods, ns/pod/container, pid:N, or paths of bundles or checkpoints, one after the other; then a "
         "finding, by its id (F1) or key")
      ->option_text("SOURCE... [FINDING]");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_label_option(*sub, arguments->query.labels);
  sub->add_flag("--ps", arguments->show.processes, "processes");
  sub->add_flag("--threads", arguments->show.threads, "threads");
  sub->add_flag("--files", arguments->show.files, "open files");
  sub->add_flag("--sockets", arguments->show.sockets, "sockets");
  sub->add_flag("--mounts", arguments->show.mounts, "mounts");
  sub->add_flag("--env", arguments->show.environment, "environment, secrets too");
  sub->add_flag("--maps", arguments->show.maps, "memory mappings");
  sub->add_flag("--security", arguments->show.security,
                "credentials, capabilities, namespaces, seccomp filters, signals, timers");
  sub->add_flag("--all", arguments->show.all, "all of these");
  add_pid_option(*sub, arguments->pid, "only this process");
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage show shop/web-7d9f\n  ctriage show BUNDLE.ctriage.tar --ps --sockets\n"
      "  ctriage show BUNDLE.ctriage.tar F1\n");
  sub->callback([arguments, &common, &chosen] {
    std::vector<std::string>& words = arguments->words;
    const bool by_labels = !arguments->query.labels.empty();
    // By labels the only word is the finding.
    if (words.size() > 1 ? ends_with_finding(words) : by_labels && words.size() == 1) {
      arguments->finding = words.back();
      words.pop_back();
    }
    if (words.empty() && !by_labels) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run_show(*arguments, query, common, to);
      };
      return view_each(each_word(arguments->query, arguments->words), io, view);
    };
  });
}

}  // namespace ctriage
