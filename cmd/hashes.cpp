// hashes and iocs: what other tools look for.
#include "lib/views/hashes.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/sys.h"
#include "lib/report/indicators.h"
#include "lib/report/listing.h"
#include "lib/source/checkpoint/source.h"
#include "lib/source/open.h"
#include "lib/verdict/verdict.h"
#include "lib/views/indicators.h"

namespace ctriage {
namespace {

struct HashArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  views::HashOptions options;
};

struct IndicatorArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  std::string form = "csv";
  std::string least = "medium";
  bool all = false;
};

Exit run_hashes(const HashArguments& arguments, const source::TargetQuery& query, const Common& common,
                Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto opened = source::open_source(query, {}, task);
  if (!opened) return fail(io, opened.error());
  const bool terminal = sys::is_terminal(STDOUT_FILENO);
  const bool text = common.output_format() == report::Format::text;
  const report::ListAll<FileHash> list = [&](const Emit<FileHash>& emit) {
    return views::list_hashes(**opened, arguments.options, emit, task);
  };
  const bool tagged = arguments.options.md5 || arguments.options.sha1;
  const Emit<FileHash> write = [&](FileHash&& hash) {
    return io.out(report::hash_lines(hash, tagged, terminal));
  };
  const Status told = text ? list(write)
                           : report::list_as_json<FileHash>("ctriage.hashes/1", "hashes", list,
                                                            common.output_format(), io.out, task);
  gaps.finish();
  if (text || !told) tell_gaps(io, common, gaps);
  if (!told) return fail(io, told.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

Exit run_indicators(const IndicatorArguments& arguments, const source::TargetQuery& query,
                    const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  auto opened = source::open_source(query, *std::move(rules), task);
  if (!opened) return fail(io, opened.error());
  const views::IndicatorOptions options{parse_enum<Severity>(arguments.least).value_or(Severity::medium),
                                        arguments.all};
  // Of a checkpoint's files hashes are made where they are asked for.
  if (auto* checkpoint = dynamic_cast<source::CheckpointSnapshot*>(&verdict::source_of(**opened)))
    checkpoint->hash_changes();
  const auto found = views::find_indicators(**opened, options, task);
  const auto source = (*opened)->describe(task);
  const bool text = common.output_format() == report::Format::text;
  gaps.finish();
  if (text || !found || !source) tell_gaps(io, common, gaps);
  if (!found) return fail(io, found.error());
  if (!source) return fail(io, source.error());
  if (!text) {
    const report::ListAll<Indicator> list = [&](const Emit<Indicator>& emit) -> Status {
      for (const Indicator& indicator : *found) {
        if (auto done = emit(Indicator(indicator)); !done) return done;
      }
      return Done{};
    };
    auto told = report::list_as_json<Indicator>("ctriage.iocs/1", "indicators", list, common.output_format(),
                                                io.out, task);
    if (!told) return fail(io, told.error());
    return exit_for(common, std::nullopt, gaps.count(Impact::lost));
  }
  std::string out;
  if (arguments.form == "misp") {
    out = report::indicators_misp(*found, *source);
  } else if (arguments.form == "stix") {
    out = report::indicators_stix(*found, *source);
  } else {
    out = report::indicators_csv(*found);
  }
  if (auto written = io.out(out); !written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

template <class Arguments>
CLI::App* add_view(CLI::App& app, Arguments& arguments, const char* name, const char* what) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->group("Analysis");
  sub->add_option("source", arguments.words,
                  "pods, ns/pod/container, pid:N, or paths of bundles or checkpoints");
  add_target_options(*sub, arguments.query);
  add_spool_option(*sub, arguments.query.spool);
  add_label_option(*sub, arguments.query.labels);
  return sub;
}

template <class Arguments, class Run>
void on_parsed(CLI::App& sub, std::shared_ptr<Arguments> arguments, const Common& common, Action& chosen,
               Run run) {
  sub.callback([arguments, &common, &chosen, run] {
    if (arguments->words.empty() && arguments->query.labels.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common, run](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        return run(*arguments, query, common, to);
      };
      return view_each(each_word(arguments->query, arguments->words), io, view);
    };
  });
}

}  // namespace

void add_hashes(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<HashArguments>();
  CLI::App* sub =
      add_view(app, *arguments, "hashes", "Hashes of what runs and of what changed, as sha256sum has them");
  sub->add_flag("--md5", arguments->options.md5, "MD5, too: tagged lines, as cksum has them");
  sub->add_flag("--sha1", arguments->options.sha1, "SHA-1, too");
  sub->footer(
      "Examples:\n  ctriage hashes BUNDLE.ctriage.tar\n  ctriage hashes shop/web-7d9f --md5 --sha1\n");
  on_parsed(*sub, arguments, common, chosen, run_hashes);
}

void add_iocs(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<IndicatorArguments>();
  CLI::App* sub = add_view(app, *arguments, "iocs", "What findings leave to be hunted elsewhere");
  sub->add_option("--as", arguments->form, "csv, misp or stix")
      ->check(CLI::IsMember({"csv", "misp", "stix"}));
  sub->add_option("--min-severity", arguments->least,
                  "of findings: info, low, medium (the default), high, critical")
      ->check(CLI::IsMember({"info", "low", "medium", "high", "critical"}));
  sub->add_flag("--all", arguments->all,
                "findings or not: what is not the image's, and every peer, private addresses too");
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage iocs BUNDLE.ctriage.tar > iocs.csv\n  ctriage iocs shop/web-7d9f --as misp\n");
  on_parsed(*sub, arguments, common, chosen, run_indicators);
}

}  // namespace ctriage
