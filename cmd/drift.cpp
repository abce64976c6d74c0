#include "lib/report/drift.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/source/open.h"
#include "lib/verdict/verdict.h"

namespace ctriage {
namespace {

constexpr std::size_t kMaxFindings = 10'000;
constexpr std::size_t kMaxExplained = 100'000;

struct DriftArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  bool explained = false;
};

Exit run_drift(const DriftArguments& arguments, const source::TargetQuery& query, const Common& common,
               Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  report::DriftOptions options;
  options.explained = arguments.explained;
  options.every_gap = common.verbose;
  options.quiet = common.quiet;
  options.rules = rules->rules.size();
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  Snapshot& snapshot = **opened;
  options.source = source_word(snapshot, query, task);

  report::DriftFacts facts;
  verdict::Judging* judging = verdict::judging_of(snapshot);
  if (judging != nullptr && arguments.explained) {
    judging->options.explained = [&facts](const FileChange& change, const std::string& reason) {
      if (facts.explained.size() < kMaxExplained)
        facts.explained.push_back({change.container, change.path, reason});
      return Status(Done{});
    };
  }
  auto judged = snapshot.list_findings(
      [&](Finding&& finding) {
        if (facts.findings.size() < kMaxFindings) {
          facts.findings.push_back(std::move(finding));
        } else {
          ++facts.beyond;
        }
        return Status(Done{});
      },
      task);
  if (judging != nullptr) {
    const verdict::Tally& tally = judging->tally;
    facts.counts = {tally.changes, tally.named, 0, tally.other};
    for (const auto& [reason, changes] : tally.explained) {
      facts.counts.explained += changes;
      facts.reasons.push_back({reason, changes});
    }
    if (tally.known_good > 0) facts.kept_back.push_back({"", "known good", "", false, tally.known_good});
    for (const rules::Suppressed& entry : tally.suppressed)
      facts.kept_back.push_back({entry.rule, entry.reason, entry.until, entry.expired, entry.count});
    judging->options = {};
  }
  if (!judged) {
    tell_gaps(io, common, gaps);
    return fail(io, judged.error());
  }
  const report::Format format = common.output_format();
  auto told = format == report::Format::text
                  ? report::drift_text(snapshot, facts, options, io.out_style, io.out, task)
                  : report::drift_json(snapshot, facts, options, format, io.out, task);
  if (!told) {
    tell_gaps(io, common, gaps);
    return fail(io, told.error());
  }
  return exit_for(common, told->worst, told->lost);
}

}  // namespace

void add_drift(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<DriftArguments>();
  CLI::App* sub = app.add_subcommand(
      "drift", "What runs or lies there that the image does not have, tampering, every other rule");
  sub->alias("findings");
  sub->group("Analysis");
  sub->add_option("source", arguments->words,
                  "pods, ns/pod/container, pid:N, or paths of bundles or checkpoints, one after the other")
      ->option_text("SOURCE...");
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  add_label_option(*sub, arguments->query.labels);
  sub->add_flag("--explained", arguments->explained, "the file changes that need no look, too, and why");
  add_rule_options(*sub, common);
  sub->footer(
      "A finding is consistent with an intrusion; it is no proof of one. Of a bundle the findings that "
      "collect\n"
      "wrote down come first, with their numbers and whatever is known good, and then what all rules find "
      "beyond them.\n"
      "Examples:\n  ctriage drift shop/web-7d9f\n  ctriage drift checkpoint.tar --json\n"
      "  ctriage drift BUNDLE.ctriage.tar --fail-on high\n  ctriage drift -l app=web --explained\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->words.empty() && arguments->query.labels.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run_drift(*arguments, query, common, to);
      };
      return view_each(each_word(arguments->query, arguments->words), io, view);
    };
  });
}

}  // namespace ctriage
