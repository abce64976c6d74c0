// search and strings: memory of a source, wherever it is.
#include "lib/report/search.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>

#include "cmd/commands.h"
#include "cmd/memory_options.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/search/pattern.h"
#include "lib/search/scanner.h"
#include "lib/search/strings.h"
#include "lib/search/tally.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct MemoryArguments {             // that both take
  source::TargetQuery query;         // of the source that is looked at; what all share before
  std::vector<std::string> sources;  // as typed
  MemoryChoice choice;
};

struct SearchArguments {
  MemoryArguments memory;
  std::vector<std::string> words;  // source and pattern, in either order
  std::vector<std::string> patterns;
  std::vector<std::string> files;
  std::vector<std::string> presets;
  search::PatternOptions options;
};

struct StringsArguments {
  MemoryArguments memory;
  search::StringOptions options;
  std::string encoding = "both";
};

bool is_pattern(std::string_view word) {
  constexpr std::array<std::string_view, 4> kPrefixes{"re:", "hex:", "wide:", "text:"};
  return std::ranges::any_of(kPrefixes, [&](std::string_view prefix) { return word.starts_with(prefix); });
}

// How sure it is that a word is the source.
enum class IsSource : std::uint8_t { no, maybe, a_file_here, surely };
IsSource is_source(const std::string& word) {
  if (is_pattern(word)) return IsSource::no;
  if (source::is_live_token(word) || source::path_of_token(word)) return IsSource::surely;
  return source::open_file(word) || Root::open(word) ? IsSource::a_file_here : IsSource::maybe;
}

Error usage(std::string what) { return {Errc::malformed, std::move(what)}; }

// Source first, as all commands have it; grep's order where only the second word can be one.
Status tell_apart(SearchArguments& arguments) {
  const bool has_patterns =
      !arguments.patterns.empty() || !arguments.files.empty() || !arguments.presets.empty();
  std::vector<std::string>& words = arguments.words;
  const bool by_labels = !arguments.memory.query.labels.empty();
  if (has_patterns) {
    if (words.empty() && !by_labels) return usage("a source is needed");
    // A pattern that is typed beside -e is a slip, no source.
    for (const std::string& word : words) {
      const bool sure = is_source(word) >= IsSource::a_file_here || word.find('/') != word.npos;
      if (words.size() > 1 && !sure)
        return usage(word +
                     ": of several sources each is a path, NAMESPACE/POD, or begins with pod:, ctr: or pid:");
    }
    arguments.memory.sources = words;
    return Done{};
  }
  if (by_labels && words.size() == 1) {
    arguments.patterns.push_back(words[0]);
    return Done{};
  }
  if (words.size() > 2) return usage("several sources: then the patterns are given by -e, -f or --preset");
  if (words.size() != 2) return usage("a source and a pattern are needed");
  const IsSource first = is_source(words[0]);
  const IsSource second = is_source(words[1]);
  const bool either = (first == second && first >= IsSource::a_file_here) ||
                      (first == IsSource::maybe && second == IsSource::a_file_here);
  if (either)
    return usage(words[0] + " and " + words[1] + ": either may be the source; say -e PATTERN, or ./FILE");
  if (second > first) std::swap(words[0], words[1]);
  arguments.memory.sources = {words[0]};
  arguments.patterns.push_back(words[1]);
  return Done{};
}

Status read_patterns(const SearchArguments& arguments, search::Patterns& patterns, const Task& task) {
  for (const std::string& typed : arguments.patterns) {
    if (auto added = patterns.add(typed); !added) return added;
  }
  for (const std::string& name : arguments.presets) {
    if (auto added = patterns.add_preset(name); !added) return added;
  }
  for (const std::string& path : arguments.files) {
    auto file = source::open_file(path);
    if (!file) return std::move(file).error().within("-f");
    FdSource bytes(*std::move(file), path, task);
    auto content = read_all(bytes, search::kMaxIndicatorBytes);
    if (!content) return std::move(content).error().within("-f");
    if (auto added = patterns.add_file(*content); !added)
      return std::move(added).error().within("-f " + path);
  }
  if (patterns.all().empty()) return usage("no patterns: the files have none");
  return Done{};
}

report::SearchEnd end_of(Snapshot& snapshot, const search::Tally& tally, SearchSummary summary,
                         std::int64_t began_ns, GapLog& gaps, Task& task) {
  report::SearchEnd end;
  if (const auto source = snapshot.describe(task)) summary.target = source->target;
  summary.processes = tally.processes();
  summary.objects = tally.objects();
  // Pages in swap, or of shared memory that nobody has touched, can hold what was looked for.
  summary.complete = gaps.count(Impact::lost) == 0 && std::ranges::none_of(gaps.kept(), [](const Gap& gap) {
                       return gap.impact == Impact::degraded && gap.artifact == "memory.pages";
                     });
  summary.took_ns = sys::boottime_ns() - began_ns;
  gaps.finish();
  end.summary = std::move(summary);
  end.gaps = report::records_of(gaps.kept(), task.now());
  return end;
}

// What was found up to a stop or the deadline is told; that it is not all is a gap.
template <class Finder>
Status walk(Snapshot& snapshot, const MemoryArguments& arguments, search::Tally& tally, Finder& finder,
            Task& task) {
  std::string container;
  auto query = memory_query_of(snapshot, arguments.choice, arguments.query.token, container, task);
  if (!query) return std::move(query).error();
  OfContainer inside(tally, std::move(container));
  auto walked = snapshot.visit_memory(*query, inside, task);
  if (walked) walked = finder.finish();
  if (walked || (walked.error().code != Errc::stopped && walked.error().code != Errc::timeout)) return walked;
  task.gaps.add({Impact::lost, "memory", arguments.query.token,
                 Error(walked.error()).within("what comes after was not searched")});
  return Done{};
}

std::vector<PatternCount> counts_of(const std::vector<search::Pattern>& patterns,
                                    const std::vector<std::uint64_t>& counts) {
  std::map<std::string_view, std::uint64_t> by_name;  // expressions of a preset together
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (counts[i] > 0) by_name[patterns[i].name] += counts[i];
  }
  std::vector<PatternCount> all;
  for (const auto& [name, count] : by_name) all.push_back({Bytes(std::string(name)), count});
  std::ranges::stable_sort(all, std::greater<>(), &PatternCount::matches);
  constexpr std::size_t kMost = 1'000;
  if (all.size() > kMost) all.resize(kMost);
  return all;
}

report::SearchOptions options_of(Snapshot& snapshot, const Common& common, const Io& io, Task& task) {
  report::SearchOptions options{common.output_format(), io.out_style, common.verbose};
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        const std::string name = container.sandbox ? "(sandbox)" : container.name.raw;
        options.containers.emplace(container.id, name);
        return Done{};
      },
      task);
  if (!listed) options.containers.clear();  // rows without it
  return options;
}

Exit end_with(const Status& told, const Common& common, Io& io, const GapLog& gaps) {
  if (!told) {
    tell_gaps(io, common, gaps);
    return fail(io, told.error());
  }
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

Exit search_one(const SearchArguments& arguments, const search::Patterns& patterns, const Common& common,
                Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const std::int64_t began_ns = sys::boottime_ns();
  auto opened = source::open_source(arguments.memory.query, {}, task);
  if (!opened) return fail(io, opened.error());
  Snapshot& snapshot = **opened;
  std::optional<search::Scanner> scanner;
  std::optional<search::Tally> tally;
  const auto run = [&](const Emit<MemoryMatch>& emit) -> Status {
    scanner.emplace(patterns.all(), search::ScanOptions{}, emit, task);
    tally.emplace(*scanner);
    return walk(snapshot, arguments.memory, *tally, *scanner, task);
  };
  const auto end = [&] {
    SearchSummary summary;
    summary.patterns = patterns.all().size();
    summary.searched_bytes = scanner->searched_bytes();
    for (const std::uint64_t count : scanner->counts()) summary.matches += count;
    summary.counts = counts_of(patterns.all(), scanner->counts());
    return end_of(snapshot, *tally, std::move(summary), began_ns, gaps, task);
  };
  report::SearchOptions options = options_of(snapshot, common, io, task);
  options.many_patterns = patterns.all().size() > 1;
  return end_with(report::search_report(run, end, options, io.out), common, io, gaps);
}

Exit run_search(SearchArguments arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  search::Patterns patterns(arguments.options);
  auto read = tell_apart(arguments);
  if (read) read = read_patterns(arguments, patterns, task);
  if (!read) {
    const Exit exit = fail(io, read.error());
    const Errc code = read.error().code;
    return code == Errc::malformed ? Exit::usage : exit;
  }
  const View view = [&](const source::TargetQuery& query, Io& to) {
    SearchArguments one = arguments;
    one.memory.query = query;
    return search_one(one, patterns, common, to);
  };
  return view_each(each_word(arguments.memory.query, arguments.memory.sources), io, view);
}

Exit strings_one(const StringsArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  const std::int64_t began_ns = sys::boottime_ns();
  auto opened = source::open_source(arguments.memory.query, {}, task);
  if (!opened) return fail(io, opened.error());
  Snapshot& snapshot = **opened;
  search::StringOptions wanted = arguments.options;
  wanted.ascii = arguments.encoding != "utf16le";
  wanted.wide = arguments.encoding != "ascii";
  std::optional<search::StringFinder> finder;
  std::optional<search::Tally> tally;
  const auto run = [&](const Emit<FoundString>& emit) -> Status {
    finder.emplace(wanted, emit, task);
    tally.emplace(*finder);
    return walk(snapshot, arguments.memory, *tally, *finder, task);
  };
  const auto end = [&] {
    SearchSummary summary;
    summary.searched_bytes = finder->searched_bytes();
    summary.matches = finder->found();
    return end_of(snapshot, *tally, std::move(summary), began_ns, gaps, task);
  };
  return end_with(report::strings_report(run, end, options_of(snapshot, common, io, task), io.out), common,
                  io, gaps);
}

}  // namespace

void add_search(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<SearchArguments>();
  CLI::App* sub =
      app.add_subcommand("search", "Patterns in the memory of all processes, with pid and address");
  sub->group("Analysis");
  sub->add_option(
         "words", arguments->words,
         "SOURCE PATTERN: a live pod, container or pid:N, a checkpoint or a bundle; text, hex:6a ?? 58, "
         "wide:TEXT "
         "(UTF-16LE), re:EXPRESSION (RE2), text:TEXT (as it stands). PATTERN SOURCE where the source is a "
         "path "
         "or begins with pid:, pod:, ctr: or ENGINE://; with -e, -f or --preset one source or several")
      ->option_text("SOURCE PATTERN");
  sub->add_option("-e,--pattern", arguments->patterns, "a pattern; repeatable")->allow_extra_args(false);
  sub->add_option("-f,--file", arguments->files, "a file of patterns, one a line; # begins a comment")
      ->allow_extra_args(false);
  sub->add_option("--preset", arguments->presets, search::preset_names() + "; several with commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  sub->add_flag("-i,--ignore-case", arguments->options.ignore_case, "letters of ASCII in either case");
  sub->add_flag("-w,--wide", arguments->options.wide, "text as UTF-16LE as well");
  add_memory_options(*sub, arguments->memory.query, arguments->memory.choice, "this process alone");
  sub->footer(
      "Examples:\n  ctriage search shop/web-7d9f hunter2\n"
      "  ctriage search pid:4711 --preset urls,keys\n"
      "  ctriage search checkpoint.tar -f iocs.txt --format jsonl\n"
      "  ctriage search web-7d9f.ctriage.tar re:'AKIA[0-9A-Z]{16}'\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_search(*arguments, common, io); };
  });
}

void add_strings(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<StringsArguments>();
  CLI::App* sub = app.add_subcommand("strings", "Printable text in the memory of all processes");
  sub->group("Analysis");
  sub->add_option("source", arguments->memory.sources,
                  "live pods, containers or pid:N, checkpoints or bundles, one after the other");
  sub->add_option("-m,--min-length", arguments->options.at_least, "characters that it has at least")
      ->check(CLI::Range(search::kMinStringCharacters, search::kMaxStringCharacters))
      ->capture_default_str();
  sub->add_option("--encoding", arguments->encoding, "ascii, utf16le or both")
      ->check(CLI::IsMember({"ascii", "utf16le", "both"}));
  add_memory_options(*sub, arguments->memory.query, arguments->memory.choice, "this process alone");
  sub->footer(
      "Examples:\n  ctriage strings pid:4711 -m 12\n  ctriage strings checkpoint.tar --format jsonl\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->memory.sources.empty() && arguments->memory.query.labels.empty())
      throw CLI::RequiredError("source");
    chosen = [arguments, &common](Io& io) {
      const View view = [&](const source::TargetQuery& query, Io& to) {
        StringsArguments one = *arguments;
        one.memory.query = query;
        return strings_one(one, common, to);
      };
      return view_each(each_word(arguments->memory.query, arguments->memory.sources), io, view);
    };
  });
}

}  // namespace ctriage
