#include "lib/report/sweep.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cmd/commands.h"
#include "lib/core/child.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/model/record.h"
#include "lib/source/open.h"
#include "lib/source/several.h"
#include "lib/sweep/sweep.h"
#include "lib/verdict/verdict.h"

namespace ctriage {
namespace {

constexpr std::size_t kMaxMessage = 32 << 20;
constexpr std::int64_t kPatienceNs = 120'000'000'000;  // for one target
constexpr unsigned kMostAtOnce = 4;

struct SweepArguments {
  source::TargetQuery query;       // what all sources share
  std::vector<std::string> words;  // sources; none: the pods of this node
  std::string indicators;
  report::SweepOptions shown;
};

Result<sweep::Indicators> read_indicators(const std::string& path, const Task& task) {
  if (path.empty()) return sweep::Indicators();
  auto file = source::open_file(path);
  if (!file) return std::move(file).error().within("-f");
  FdSource in(*std::move(file), path, task);
  auto text = read_all(in, sweep::kMaxIndicatorBytes);
  if (!text) return std::move(text).error().within("-f");
  auto read = sweep::Indicators::parse(*text);
  if (!read) return std::move(read).error().within("-f " + path);
  return read;
}

// Each target in a process of its own, a few at once: what one gives up, or where one gets stuck, is no
// matter of the others.
class Sweeper {
 public:
  Sweeper(const sweep::Indicators& indicators, const rules::RuleSet& rules, Io& io)
      : indicators_(indicators), rules_(rules), io_(io) {}

  std::vector<SweptTarget> run(const std::vector<source::Target>& targets) {
    std::vector<SweptTarget> swept(targets.size());
    std::vector<std::unique_ptr<Child>> children(targets.size());
    const std::size_t at_once = std::clamp(sys::cpu_count(), 1U, kMostAtOnce);
    for (std::size_t next = 0, taken = 0; taken < targets.size(); ++taken) {
      for (; next < targets.size() && next < taken + at_once && !io_.stop; ++next)
        children[next] = start(targets[next].query, children, swept[next]);
      if (children[taken]) receive(children[taken], swept[taken]);
      if (next <= taken) swept[taken].error = Bytes("stopped before its turn");
      if (swept[taken].target.empty()) swept[taken].target = Bytes(targets[taken].name);
    }
    return swept;
  }

 private:
  std::unique_ptr<Child> start(const source::TargetQuery& query,
                               const std::vector<std::unique_ptr<Child>>& others, SweptTarget& into) {
    std::vector<Child*> siblings;
    for (const auto& other : others) {
      if (other) siblings.push_back(other.get());
    }
    auto child = Child::start([&](Channel& parent) { return work(query, parent); }, io_.on_stop, siblings);
    if (child) return std::make_unique<Child>(*std::move(child));
    into.error = Bytes(child.error().what);
    return nullptr;
  }

  // In the child.
  int work(const source::TargetQuery& query, Channel& parent) const {
    GapLog gaps;
    Task task = make_task(gaps, io_);
    task.meter = nullptr;
    auto opened = source::open_source(query, rules_, task);
    // The node is the same for all of its pods: drift looks at it.
    if (auto* judging = opened ? verdict::judging_of(**opened) : nullptr) judging->options.node = false;
    auto swept = opened ? sweep::look(**opened, indicators_, task) : Result<SweptTarget>(opened.error());
    SweptTarget answer;
    if (swept) {
      answer = *std::move(swept);
    } else {
      answer.error = Bytes(swept.error().what);
    }
    gaps.finish();
    answer.gaps = report::records_of(gaps.kept(), task.now());
    return parent.send(to_json(answer)) ? 0 : 1;
  }

  void receive(std::unique_ptr<Child>& child, SweptTarget& into) {
    auto message = child->channel().receive(kMaxMessage, io_.stop, sys::boottime_ns() + kPatienceNs);
    if (!message) {
      const bool stuck = message.error().code == Errc::timeout;
      into.error = Bytes(stuck ? "it did not answer in time and was given up" : message.error().what);
      child->abandon();
    } else if (!*message) {
      into.error = Bytes("its process ended before it said anything");
    } else if (auto swept = parse_artifact<SweptTarget>(**message)) {
      into = *std::move(swept);
    } else {
      into.error = Bytes(swept.error().what);
    }
    if (message) (void)child->wait().has_value();
    child.reset();
  }

  const sweep::Indicators& indicators_;
  const rules::RuleSet& rules_;
  Io& io_;
};

Result<source::Targets> targets_of(const SweepArguments& arguments, Io& io, Task& task) {
  if (arguments.words.empty()) {
    source::SeveralQuery all{arguments.query, arguments.query.labels.empty()};
    return source::find_targets(all, io.on_stop, task);
  }
  source::Targets targets;
  for (const source::TargetQuery& query : each_word(arguments.query, arguments.words))
    targets.targets.push_back({query, query.token});
  return targets;
}

Status name_replicas(const rules::RuleSet& rules, SweepResult& result) {
  rules::Engine engine(rules);
  for (const Replica& replica : sweep::find_odd_replicas(result.targets)) {
    const Emit<Finding> keep = [&](Finding&& finding) -> Status {
      result.replicas.push_back(std::move(finding));
      return Done{};
    };
    if (auto done = engine.evaluate(RecordOf<Replica>(replica), rules::context_of(replica), keep); !done)
      return done;
  }
  std::ranges::stable_sort(result.replicas, std::greater<>(), &Finding::severity);
  return Done{};
}

// Of all that was found, an indicator above everything.
std::optional<Severity> worst_of(const SweepResult& result) {
  std::optional<Severity> worst;
  const auto add = [&worst](Severity severity) { worst = worst ? std::max(*worst, severity) : severity; };
  for (const Finding& finding : result.replicas) add(finding.severity);
  for (const SweptTarget& target : result.targets) {
    for (const SweptContainer& swept : target.containers) {
      if (!swept.matches.empty()) add(Severity::critical);
      for (const Finding& finding : swept.findings) add(finding.severity);
    }
  }
  return worst;
}

Exit run_sweep(const SweepArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const std::int64_t began_ns = sys::boottime_ns();
  const auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  const auto indicators = read_indicators(arguments.indicators, task);
  if (!indicators) return fail(io, indicators.error());
  auto targets = targets_of(arguments, io, task);
  if (!targets) {
    tell_gaps(io, common, gaps);
    return fail(io, targets.error());
  }
  SweepResult result;
  if (auto name = sys::uname()) result.node = Bytes(static_cast<const char*>(name->nodename));
  result.indicators = indicators->size();
  for (const std::string& left : targets->left_out) result.left_out.emplace_back(left);
  result.targets = Sweeper(*indicators, *rules, io).run(targets->targets);
  sweep::rank(result.targets);
  result.shared = sweep::find_shared(result.targets);
  if (auto named = name_replicas(*rules, result); !named) return fail(io, named.error());
  gaps.finish();
  result.gaps = report::records_of(gaps.kept(), task.now());
  result.took_ns = static_cast<std::uint64_t>(sys::boottime_ns() - began_ns);

  std::uint64_t lost = gaps.count(Impact::lost);
  for (const SweptTarget& target : result.targets) {
    lost += target.error.has_value();
    lost += static_cast<std::uint64_t>(std::ranges::count(target.gaps, Impact::lost, &GapRecord::impact));
  }
  report::SweepOptions shown = arguments.shown;
  shown.every_gap = common.verbose;
  const bool text = common.output_format() == report::Format::text;
  const auto written =
      io.out(text ? report::sweep_text(result, shown, io.out_style) : report::sweep_json(result));
  if (!written) return fail(io, written.error());
  return exit_for(common, worst_of(result), lost);
}

}  // namespace

void add_sweep(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<SweepArguments>();
  CLI::App* sub =
      app.add_subcommand("sweep", "Every container of this node, ranked by what runs there that should not");
  sub->group("On the node");
  sub->add_option("source", arguments->words,
                  "instead of the pods of this node: pods, containers, bundles, checkpoints")
      ->option_text("[SOURCE...]");
  add_target_options(*sub, arguments->query);
  add_label_option(*sub, arguments->query.labels);
  sub->add_option("-f,--indicators", arguments->indicators,
                  "look for these, too: SHA-256, addresses, paths and texts, one a line, or what "
                  "ctriage iocs --as csv wrote");
  sub->add_flag("--all", arguments->shown.all, "containers with nothing above info, too");
  add_rule_options(*sub, common);
  sub->footer(
      "With an indicator found --fail-on counts it as critical.\n"
      "Examples:\n  ctriage sweep\n  ctriage sweep -f iocs.csv --fail-on high\n  ctriage sweep -l app=web\n"
      "  ctriage sweep *.ctriage.tar --json\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_sweep(*arguments, common, io); };
  });
}

}  // namespace ctriage
