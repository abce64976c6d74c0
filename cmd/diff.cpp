#include "lib/report/diff.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct DiffArguments {
  source::TargetQuery query;
  bool all = false;
};

Exit run_diff(const DiffArguments& arguments, const source::TargetQuery& query, const Common& common,
              Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const bool judge = !common.fail_on.empty();  // without it nothing is evaluated
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  if (!judge) rules->clear();
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  const report::DiffOptions options{source_word(**opened, query, task), arguments.all, judge, common.verbose};
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
  CLI::App* sub = app.add_subcommand("diff", "File changes of a container against its image");
  sub->group("Analysis");
  sub->add_option("source", arguments->query.token, "pod, ns/pod/container, pid:N, or the path of a bundle");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_label_option(*sub, arguments->query.labels);
  sub->add_flag("--all", arguments->all, "runtime stubs and unchanged files too");
  add_rule_options(*sub, common);
  sub->footer("Examples:\n  ctriage diff shop/web-7d9f/app\n  ctriage diff BUNDLE.ctriage.tar --json\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->query.labels.empty() && arguments->query.token.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run_diff(*arguments, query, common, to);
      };
      return view_each({arguments->query}, io, view);
    };
  });
}

}  // namespace ctriage
