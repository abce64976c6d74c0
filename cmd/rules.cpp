#include "lib/rules/rules.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/root.h"
#include "lib/core/sandbox.h"
#include "lib/report/rules.h"

namespace ctriage {
namespace {

RuleMistake record_of(const rules::Mistake& mistake) {
  return {Bytes(mistake.origin), Bytes(mistake.rule), Bytes(mistake.error.what)};
}

Exit run_list(const Common& common, Io& io) {
  auto loaded = load_rules(common);
  if (!loaded) return fail(io, loaded.error());
  RuleList list;
  for (const rules::Rule& rule : loaded->rules) {
    list.rules.push_back({rule.id, rule.severity, rule.artifact, rule.title, rule.attack,
                          rule.form == rules::Form::sigma ? "sigma" : "ours", Bytes(rule.origin)});
  }
  list.suppressions = loaded->suppressions.size();
  list.explanations = loaded->explanations.size();
  for (const rules::Mistake& one : loaded->unmet) list.unmet.push_back(record_of(one));
  const bool text = common.output_format() == report::Format::text;
  auto written = io.out(text ? report::rule_list_text(list, io.out_style) : report::rule_list_json(list));
  return written ? Exit::complete : fail(io, written.error());
}

struct Place {  // a directory of rule files, or one file in it
  Root directory;
  std::string file;
};

Result<Place> open_place(const std::string& path) {
  auto directory = Root::open(path);
  if (directory) return Place{*std::move(directory), ""};
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  auto above = Root::open(folder);
  if (!above) return std::move(above).error();
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (auto there = above->stat_in_root(name); !there) return std::move(there).error();
  return Place{*std::move(above), name};
}

Exit run_check(const std::vector<std::string>& paths, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  std::vector<Place> places;
  SandboxPlan plan;
  for (const std::string& path : paths) {
    auto place = open_place(path);
    if (!place) return fail(io, place.error());
    places.push_back(*std::move(place));
  }
  for (const Place& place : places) plan.readable.push_back(place.directory.fd());
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  rules::RuleFile all;
  for (const Place& place : places) {
    if (!place.file.empty()) {
      rules::read_file(place.directory, place.file, all);
    } else if (auto done = rules::read_directory(place.directory, all); !done) {
      return fail(io, done.error());
    }
  }
  auto known = rules::builtin_rules();
  if (!known) return fail(io, known.error());
  rules::RuleSet own = all.set;
  rules::join_rules(*known, std::move(own));
  for (rules::Mistake& one : rules::check_suppressions(all.set, *known)) {
    all.mistakes.push_back(std::move(one));
  }
  RuleCheck check;
  check.rules = all.set.rules.size();
  check.suppressions = all.set.suppressions.size();
  check.explanations = all.set.explanations.size();
  for (const rules::Mistake& one : all.mistakes) check.mistakes.push_back(record_of(one));
  for (const rules::Mistake& one : all.set.unmet) check.unmet.push_back(record_of(one));
  const bool text = common.output_format() == report::Format::text;
  auto written = io.out(text ? report::rule_check_text(check) : report::rule_check_json(check));
  if (!written) return fail(io, written.error());
  return check.mistakes.empty() ? Exit::complete : Exit::failed;
}

}  // namespace

void add_rules(CLI::App& app, Common& common, Action& chosen) {
  CLI::App* sub = app.add_subcommand("rules", "List the rules, or check rule files");
  sub->group("Other");
  sub->require_subcommand(1);
  sub->footer("Examples:\n  ctriage rules list\n  ctriage rules check mine.json sigma/\n");
  CLI::App* list = sub->add_subcommand("list", "Rules that are evaluated, Sigma's of --rules too");
  list->add_option("--rules", common.rules_directory, "directory of rule files that join the built-in ones");
  list->footer("Examples:\n  ctriage rules list\n  ctriage rules list --rules /etc/ctriage/rules --json\n");
  list->callback([&common, &chosen] { chosen = [&common](Io& io) { return run_list(common, io); }; });

  auto paths = std::make_shared<std::vector<std::string>>();
  CLI::App* check = sub->add_subcommand("check", "Every mistake in rule files: file, rule and reason");
  check->add_option("path", *paths, "rule files (.json, .yml, .yaml) and directories of them")->required();
  check->footer(
      "Exit status: 0 no mistake, 1 mistakes. What a Sigma rule needs and is not seen here is told and is no "
      "mistake.\n"
      "Examples:\n  ctriage rules check rules/\n  ctriage rules check mine.json sigma/web_shell.yml\n");
  check->callback([paths, &common, &chosen] {
    chosen = [paths, &common](Io& io) { return run_check(*paths, common, io); };
  });
}

}  // namespace ctriage
