#pragma once
// One add_<subcommand> per file: arguments in, one call into lib/, exit status out. Parsing only picks an
// Action; main runs it afterwards.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/task.h"
#include "lib/model/finding.h"
#include "lib/model/snapshot.h"
#include "lib/report/report.h"
#include "lib/rules/rules.h"
#include "lib/source/target.h"

namespace CLI {
class App;
}

namespace ctriage {

class Root;

constexpr std::string_view kVersion = CTRIAGE_VERSION;

// The first that applies wins: usage, failed, findings, lost, complete.
enum class Exit : int { complete = 0, failed = 1, usage = 2, lost = 3, findings = 4 };

struct Io {  // where results and everything else go; tests hand in strings
  std::function<Status(std::string_view)> out;
  std::function<void(std::string_view)> err;
  report::Style out_style;
  report::Style err_style;
  const std::atomic<bool>& stop;
  std::vector<std::string> command_line;
  Meter* meter = nullptr;          // what the progress line shows; none: nobody watches
  void (*on_stop)(int) = nullptr;  // sets `stop`: for a process that does a part of the work
};

using Action = std::function<Exit(Io&)>;

struct Common {  // options that several subcommands take
  std::string format = "text";
  bool json = false;
  std::string rules_directory;
  std::string known_good;
  std::string fail_on;
  std::string color = "auto";
  bool quiet = false;
  bool verbose = false;
  std::string log_file;

  [[nodiscard]] report::Format output_format() const;
};

void add_collect(CLI::App& app, Common& common, Action& chosen);
void add_show(CLI::App& app, Common& common, Action& chosen);
void add_diff(CLI::App& app, Common& common, Action& chosen);
void add_drift(CLI::App& app, Common& common, Action& chosen);
// ls, cat and cp.
void add_files(CLI::App& app, const Common& common, Action& chosen);
void add_dump(CLI::App& app, const Common& common, Action& chosen);
void add_extract(CLI::App& app, const Common& common, Action& chosen);
// image packages, image deps, image verify.
void add_image(CLI::App& app, const Common& common, Action& chosen);
void add_whois(CLI::App& app, const Common& common, Action& chosen);
void add_verify(CLI::App& app, const Common& common, Action& chosen);
void add_export(CLI::App& app, const Common& common, Action& chosen);
void add_selftest(CLI::App& app, const Common& common, Action& chosen);
// search and strings.
void add_search(CLI::App& app, const Common& common, Action& chosen);
void add_strings(CLI::App& app, const Common& common, Action& chosen);
// scan --yara.
void add_scan(CLI::App& app, Common& common, Action& chosen);
void add_hashes(CLI::App& app, const Common& common, Action& chosen);
void add_iocs(CLI::App& app, Common& common, Action& chosen);
void add_rotate(CLI::App& app, Common& common, Action& chosen);
void add_timeline(CLI::App& app, Common& common, Action& chosen);
void add_list(CLI::App& app, const Common& common, Action& chosen);
void add_sweep(CLI::App& app, Common& common, Action& chosen);
// rules list and rules check.
void add_rules(CLI::App& app, Common& common, Action& chosen);
void add_completion(CLI::App& app, Action& chosen);
void add_manual(CLI::App& app, Action& chosen);

// What several subcommands do alike.
void add_target_options(CLI::App& sub, source::TargetQuery& query);
void add_root_option(CLI::App& sub, std::string& root);
// -l, which may stand in the place of a target.
void add_label_option(CLI::App& sub, std::vector<std::string>& labels);
// --spool, of what opens archives.
void add_spool_option(CLI::App& sub, std::string& spool);
// --swap, of what reads memory of live processes.
void add_swap_option(CLI::App& sub, SwapIn& choice);
// --rules, --known-good and --fail-on, of the subcommands that have findings.
void add_rule_options(CLI::App& sub, Common& common);
Task make_task(GapLog& gaps, const Io& io);
// Of the directory of -o, which is called `path`: what its file system has left for us.
Result<std::uint64_t> free_bytes(const Root& directory, const std::string& path);
// "ctriage: <what>" on stderr, escaped; gives Exit::failed, or Exit::lost when a stop or the
// deadline ended the work.
Exit fail(Io& io, const Error& error);
Result<rules::RuleSet> load_rules(const Common& common);
// What views print for a source in the commands they offer: a live one as it resolved, so that -n and -c need
// not be typed again; a bundle as it was typed.
std::string source_word(Snapshot& snapshot, const source::TargetQuery& query, Task& task);
// Of several the first that applies.
Exit worse(Exit one, Exit other);
// A view of one source, or of each that -l means, in a process of its own, one after the other.
using View = std::function<Exit(const source::TargetQuery& query, Io& io)>;
// A query for each word, or the one of labels alone.
std::vector<source::TargetQuery> each_word(const source::TargetQuery& query,
                                           const std::vector<std::string>& words);
Exit view_each(const std::vector<source::TargetQuery>& queries, Io& io, const View& view);
// 4 when `worst` reaches --fail-on, 3 when evidence was lost, else 0.
Exit exit_for(const Common& common, std::optional<Severity> worst, std::uint64_t lost);
// Gaps on stderr, for a view that ended before it could print them itself.
void tell_gaps(Io& io, const Common& common, const GapLog& gaps);

}  // namespace ctriage
