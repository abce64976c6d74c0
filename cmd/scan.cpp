// scan: YARA rules over everything in a source that has bytes.
#include "lib/report/scan.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"
#include "cmd/memory_options.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/scan/scanner.h"
#include "lib/search/tally.h"
#include "lib/source/everything.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

constexpr std::int64_t kMaxTimeoutSeconds = 86'400;

struct ScanArguments {
  source::TargetQuery query;
  std::vector<std::string> words;
  std::vector<std::string> rules;
  std::string timeout = "10s";
  MemoryChoice choice;
};

struct Looked {  // what one source gave
  std::optional<Severity> worst;
  std::uint64_t matches = 0;
};

// What was found up to a stop or the deadline is told; that it is not all is a gap.
Status walk(Snapshot& snapshot, const ScanArguments& arguments, scan::YaraScanner& scanner,
            search::Tally& tally, Task& task) {
  std::string container;
  const auto query = memory_query_of(snapshot, arguments.choice, arguments.query.token, container, task);
  if (!query) return query.error();
  OfContainer inside(tally, std::move(container));
  auto walked = source::visit_everything(snapshot, *query, inside, task);
  if (walked) walked = scanner.finish();
  if (walked || (walked.error().code != Errc::stopped && walked.error().code != Errc::timeout)) return walked;
  task.gaps.add({Impact::lost, "scan.yara", arguments.query.token,
                 Error(walked.error()).within("what comes after was not looked at")});
  return Done{};
}

Exit scan_one(const ScanArguments& arguments, const scan::Rules& rules, int timeout_s, const Common& common,
              Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const std::int64_t began_ns = sys::boottime_ns();
  auto opened = source::open_source(arguments.query, {}, task);
  if (!opened) return fail(io, opened.error());
  for (const std::string& path : rules.unanswered())
    task.gaps.add(
        {Impact::degraded, "scan.yara", path,
         Error{Errc::unsupported,
               "asks for filetype or owner, which is not known here: such rules may match nothing"}});
  Snapshot& snapshot = **opened;
  Looked looked;
  std::unique_ptr<scan::YaraScanner> scanner;
  std::optional<search::Tally> tally;
  const auto run = [&](const Emit<YaraMatch>& emit) -> Status {
    const Emit<YaraMatch> counted = [&](YaraMatch&& match) {
      ++looked.matches;
      looked.worst = std::max(looked.worst.value_or(Severity::info), match.severity);
      return emit(std::move(match));
    };
    auto made = scan::YaraScanner::create(rules, {.piece_timeout_s = timeout_s}, counted, task);
    if (!made) return std::move(made).error();
    scanner = *std::move(made);
    tally.emplace(*scanner);
    return walk(snapshot, arguments, *scanner, *tally, task);
  };
  const auto end = [&] {
    report::SearchEnd told;
    SearchSummary& summary = told.summary;
    if (const auto source = snapshot.describe(task)) summary.target = source->target;
    summary.patterns = rules.count();
    summary.matches = looked.matches;
    summary.counts = scanner->counts();
    summary.processes = tally->processes();
    summary.objects = tally->objects();
    summary.searched_bytes = scanner->searched_bytes();
    summary.complete = gaps.count(Impact::lost) == 0;
    summary.took_ns = sys::boottime_ns() - began_ns;
    gaps.finish();
    told.gaps = report::records_of(gaps.kept(), task.now());
    return told;
  };
  report::SearchOptions options{common.output_format(), io.out_style, common.verbose};
  const Emit<Container> name = [&](Container&& container) -> Status {
    options.containers.emplace(container.id, container.sandbox ? "(sandbox)" : container.name.raw);
    return Done{};
  };
  if (!snapshot.list_containers(name, task)) options.containers.clear();  // rows without it
  if (auto told = report::scan_report(run, end, options, io.out); !told) {
    tell_gaps(io, common, gaps);
    return fail(io, told.error());
  }
  return exit_for(common, looked.worst, gaps.count(Impact::lost));
}

Exit run_scan(const ScanArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const auto timeout = parse_duration(arguments.timeout);
  if (!timeout || *timeout < 1 || *timeout > kMaxTimeoutSeconds) {
    (void)fail(io,
               {Errc::malformed, "--object-timeout " + arguments.timeout + ": not a time like 10s or 2m"});
    return Exit::usage;
  }
  // Before anything hostile is opened, and outside of the sandbox, which leaves no files to be read.
  auto rules = scan::Rules::compile(arguments.rules, task);
  if (!rules) {
    for (const std::string_view line : split(rules.error().what, '\n'))
      (void)fail(io, {rules.error().code, "--yara: " + std::string(line)});
    return Exit::failed;
  }
  const View view = [&](const source::TargetQuery& query, Io& to) {
    ScanArguments one = arguments;
    one.query = query;
    return scan_one(one, **rules, static_cast<int>(*timeout), common, to);
  };
  return view_each(each_word(arguments.query, arguments.words), io, view);
}

}  // namespace

void add_scan(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<ScanArguments>();
  CLI::App* sub = app.add_subcommand(
      "scan", "YARA rules over memory, programs, changed and deleted files, tmpfs, volumes, logs");
  sub->group("Analysis");
  sub->add_option("source", arguments->words,
                  "pods, ns/pod/container, pid:N, or paths of bundles or checkpoints, one after the other")
      ->option_text("SOURCE...");
  sub->add_option(
         "--yara", arguments->rules,
         "a file of YARA rules, or a directory with *.yar and *.yara files; repeatable. Includes are "
         "off; compiled rules are refused")
      ->required()
      ->allow_extra_args(false)
      ->option_text("RULES");
  sub->add_option("--object-timeout", arguments->timeout,
                  "for each file, and each run of pages of a process; of what is over 16 MiB for each piece. "
                  "What takes longer is a lost gap")
      ->capture_default_str();
  add_memory_options(*sub, arguments->query, arguments->choice,
                     "the memory and the program of this process alone");
  sub->add_option("--fail-on", common.fail_on,
                  "exit 4 when a match is at or above: info, low, medium, high, critical (of its rule's meta "
                  "'severity', else medium)")
      ->check(CLI::IsMember({"info", "low", "medium", "high", "critical"}));
  sub->footer(
      "A rule is looked for in each file, and in each run of adjacent pages, as if that were one file.\n"
      "Examples:\n  ctriage scan --yara rules/ shop/web-7d9f\n"
      "  ctriage scan --yara implants.yar checkpoint.tar BUNDLE.ctriage.tar --json\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->words.empty() && arguments->query.labels.empty()) throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) { return run_scan(*arguments, common, io); };
  });
}

}  // namespace ctriage
