#include "lib/report/diff.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "cmd/diff_two.h"
#include "cmd/pid_option.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct DiffArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  DiffTwoArguments two;  // what of two sources is compared
};

Exit run_diff(const DiffArguments& arguments, const source::TargetQuery& query, const Common& common,
              Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const bool judge = !common.fail_on.empty();  // without it nothing is evaluated
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  if (!judge) rules->rules.clear();
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  const report::DiffOptions options{source_word(**opened, query, task), arguments.two.all, judge,
                                    common.verbose};
  const report::Format format = common.output_format();
  auto told = format == report::Format::text
                  ? report::diff_text(**opened, options, io.out_style, io.out, task)
                  : report::diff_json(**opened, options, format, io.out, task);
  if (!told) {
    tell_gaps(io, common, gaps);
    return fail(io, told.error());
  }
  return exit_for(common, told->worst, told->lost);
}

}  // namespace

void add_diff(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<DiffArguments>();
  CLI::App* sub = app.add_subcommand(
      "diff", "File changes of a container against its image, or what two sources do not have in common");
  sub->group("Analysis");
  sub->add_option(
         "source", arguments->words,
         "pod, ns/pod/container, pid:N, or the path of a bundle or checkpoint; a second one is compared "
         "with the first")
      ->option_text("SOURCE [SOURCE]");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_label_option(*sub, arguments->query.labels);
  DiffTwoArguments& two = arguments->two;
  sub->add_flag("--all", two.all,
                "runtime stubs and unchanged files too; of two sources everything, memory of a live one too");
  sub->add_flag("--ps", two.processes,
                "of two: processes with arguments, environment, program, credentials, namespaces");
  sub->add_flag("--changes", two.changes, "of two: files, by what each changed of its image");
  sub->add_flag("--files", two.files, "of two: open files");
  sub->add_flag("--sockets", two.sockets, "of two: sockets, with state and peers");
  sub->add_flag("--mounts", two.mounts, "of two: mounts, and layers of the image");
  sub->add_flag("--maps", two.maps, "of two: memory mappings");
  sub->add_flag("--memory", two.memory,
                "of two: page contents; without it they are compared where neither is live");
  add_pid_option(*sub, two.pid, "of two: only this process, by the number that the container sees");
  add_rule_options(*sub, common);
  sub->footer(
      "Two sources: - only the first has it, + only the second, ~ it changed, ? it may be no difference. "
      "Without\n"
      "options everything both have is compared; what one cannot have is told. Differences leave the status "
      "0.\n"
      "Examples:\n  ctriage diff shop/web-7d9f/app\n  ctriage diff BUNDLE.ctriage.tar --json\n"
      "  ctriage diff BUNDLE.ctriage.tar shop/web-7d9f\n"
      "  ctriage diff yesterday.tar today.tar --memory --maps --pid 17\n");
  sub->callback([arguments, &common, &chosen] {
    const std::vector<std::string>& words = arguments->words;
    DiffTwoArguments& pair = arguments->two;
    if (words.size() > 2) throw CLI::ValidationError("source", "at most two can be compared");
    if (words.size() == 2) {
      if (!arguments->query.labels.empty())
        throw CLI::ValidationError("--selector", "two sources are named, each by a word of its own");
      if (!common.fail_on.empty() || !common.rules_directory.empty())
        throw CLI::ValidationError("--fail-on, --rules", "findings are of one source");
      std::string& container = arguments->query.container;
      const std::string& inside = pair.pid.container;
      if (!inside.empty() && !container.empty() && container != inside)
        throw CLI::ValidationError("--pid", inside + ": -c names another container");
      if (!inside.empty()) container = inside;
      pair.before = arguments->query;
      pair.before.token = words.front();
      pair.after = arguments->query;
      pair.after.token = words.back();
      chosen = [arguments, &common](Io& io) { return run_diff_two(arguments->two, common, io); };
      return;
    }
    if (pair.names_a_section() || pair.pid.pid != 0)
      throw CLI::ValidationError("source", "that option is for two sources; of one, ctriage show has it");
    if (words.empty() && arguments->query.labels.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run_diff(*arguments, query, common, to);
      };
      return view_each(each_word(arguments->query, arguments->words), io, view);
    };
  });
}

}  // namespace ctriage
