#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/open.h"
#include "lib/source/several.h"

namespace ctriage {

report::Format Common::output_format() const {
  if (json || format == "json") return report::Format::json;
  return format == "jsonl" ? report::Format::jsonl : report::Format::text;
}

void add_target_options(CLI::App& sub, source::TargetQuery& query) {
  sub.add_option("-n,--namespace", query.pod_namespace, "Kubernetes namespace of the pod");
  sub.add_option("-c,--container", query.container, "one container of the pod, by name");
  add_root_option(sub, query.root);
}

void add_root_option(CLI::App& sub, std::string& root) {
  sub.add_option("--root", root,
                 "where the node's own / is mounted with its /proc; from inside a pod: /host");
}

void add_label_option(CLI::App& sub, std::vector<std::string>& labels) {
  sub.add_option("-l,--selector", labels,
                 "key=value: only what has this label, or whose pod has it; repeatable")
      ->allow_extra_args(false);
}

void add_spool_option(CLI::App& sub, std::string& spool) {
  sub.add_option("--spool", spool,
                 "directory for an unnamed copy of a compressed archive or of standard input (-), unpacked: "
                 "what must be read again is not unpacked again");
}

void add_swap_option(CLI::App& sub, SwapIn& choice) {
  sub.add_option_function<std::string>(
         "--swap",
         [&choice](const std::string& typed) { choice = parse_enum<SwapIn>(typed).value_or(choice); },
         "pages in swap, which come back into memory by it: auto (256 MiB in all, where the container stays "
         "below 80 % of its limit; the default), all or none")
      ->check(CLI::IsMember({"auto", "all", "none"}));
}

void add_rule_options(CLI::App& sub, Common& common) {
  sub.add_option("--rules", common.rules_directory,
                 "directory of rule files that join the built-in ones; a bundle's findings are fixed");
  sub.add_option("--known-good", common.known_good,
                 "file of SHA-256, one a line or as sha256sum has them: findings about these files alone are "
                 "counted and kept back")
      ->option_text("HASHES");
  sub.add_option("--fail-on", common.fail_on,
                 "exit 4 when a finding is at or above: info, low, medium, high, critical")
      ->check(CLI::IsMember({"info", "low", "medium", "high", "critical"}));
}

Task make_task(GapLog& gaps, const Io& io) {
  return Task{gaps, io.stop, [] { return sys::realtime(); }, INT64_MAX, io.meter};
}

Result<std::uint64_t> free_bytes(const Root& directory, const std::string& path) {
  auto fs = sys::statfs(directory.fd(), path);
  if (!fs) return std::move(fs).error().within("-o");
  return static_cast<std::uint64_t>(fs->f_bavail) * static_cast<std::uint64_t>(fs->f_bsize);
}

std::string source_word(Snapshot& snapshot, const source::TargetQuery& query, Task& task) {
  const auto source = snapshot.describe(task);
  return source && source->kind == "live" ? source->target.raw : query.token;
}

Exit fail(Io& io, const Error& error) {
  io.err("ctriage: " + escape_terminal(error.what) + "\n");
  return error.code == Errc::stopped || error.code == Errc::timeout ? Exit::lost : Exit::failed;
}

namespace {

Result<std::shared_ptr<const rules::KnownGood>> read_known_good(const std::string& path) {
  auto file = source::open_file(path);
  if (!file) return std::move(file).error().within("--known-good");
  GapLog none;
  const std::atomic<bool> no_stop{false};
  const Task task{none, no_stop, [] { return sys::realtime(); }};
  FdSource bytes(*std::move(file), path, task);
  auto read = rules::read_known_good(bytes);
  if (!read) return std::move(read).error().within("--known-good " + path);
  return std::make_shared<const rules::KnownGood>(*std::move(read));
}

}  // namespace

Result<rules::RuleSet> load_rules(const Common& common) {
  auto loaded = rules::builtin_rules();
  if (loaded && !common.known_good.empty()) {
    auto known = read_known_good(common.known_good);
    if (!known) return std::move(known).error();
    loaded->known_good = *std::move(known);
  }
  if (!loaded || common.rules_directory.empty()) return loaded;
  auto directory = Root::open(common.rules_directory);
  if (!directory) return std::move(directory).error().within("--rules");
  auto more = rules::load_rules(*directory);
  if (!more) return std::move(more).error().within("--rules");
  const auto suppressions = *more;
  rules::join_rules(*loaded, *std::move(more));
  const auto wrong = rules::check_suppressions(suppressions, *loaded);
  if (!wrong.empty()) return wrong.front().told().within("--rules");
  return loaded;
}

Exit exit_for(const Common& common, std::optional<Severity> worst, std::uint64_t lost) {
  const auto limit = parse_enum<Severity>(common.fail_on);
  if (limit && worst && *worst >= *limit) return Exit::findings;
  return lost > 0 ? Exit::lost : Exit::complete;
}

Exit worse(Exit one, Exit other) {
  for (const Exit exit : {Exit::usage, Exit::failed, Exit::findings, Exit::lost}) {
    if (one == exit || other == exit) return exit;
  }
  return Exit::complete;
}

namespace {

// By labels alone several may be meant: which they are is looked up first. What else they say is told by who
// opens them.
Result<std::vector<source::TargetQuery>> each_meant(const source::TargetQuery& query, Io& io) {
  if (query.labels.empty() || !query.token.empty()) return std::vector{query};
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto found = source::find_targets({query, false}, io.on_stop, task);
  if (!found) return std::move(found).error();
  std::vector<source::TargetQuery> each;
  for (source::Target& target : found->targets) each.push_back(std::move(target.query));
  if (each.size() == 1) each.front() = query;
  return each;
}

}  // namespace

std::vector<source::TargetQuery> each_word(const source::TargetQuery& query,
                                           const std::vector<std::string>& words) {
  if (words.empty()) return {query};
  std::vector<source::TargetQuery> each;
  for (const std::string& word : words) each.emplace_back(query).token = word;
  return each;
}

Exit view_each(const std::vector<source::TargetQuery>& queries, Io& io, const View& view) {
  std::vector<source::TargetQuery> all;
  for (const source::TargetQuery& query : queries) {
    auto each = each_meant(query, io);
    if (!each) return fail(io, each.error());
    all.insert(all.end(), each->begin(), each->end());
  }
  if (all.size() == 1) return view(all.front(), io);
  Exit exit = Exit::complete;
  for (const source::TargetQuery& query : all) {
    const Child::Work work = [&](Channel&) {
      const Exit done = view(query, io);
      io.err("");  // the progress line goes
      return static_cast<int>(done);
    };
    auto child = Child::start(work, io.on_stop);
    if (!child) return fail(io, child.error());
    // It says nothing; its end is waited for, and a stop passed on once.
    auto ended = child->channel().receive(0, io.stop);
    if (!ended) child->stop();
    const auto status = child->wait();
    exit = worse(exit, status ? static_cast<Exit>(*status) : fail(io, status.error()));
    if (io.stop) return worse(exit, Exit::lost);
  }
  return exit;
}

void tell_gaps(Io& io, const Common& common, const GapLog& gaps) {
  if (common.quiet || gaps.total() == 0) return;
  constexpr std::size_t kFew = 8;
  report::GapTally tally;
  for (const Gap& gap : gaps.kept()) {
    if (common.verbose || gap.impact != Impact::note) tally.add(gap);
  }
  for (const std::string& line : tally.lines(common.verbose ? SIZE_MAX : kFew)) io.err("gap: " + line + "\n");
}

}  // namespace ctriage
