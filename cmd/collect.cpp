#include "lib/collect/collect.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"
#include "lib/collect/place.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/collect_screen.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct CollectArguments {
  source::TargetQuery query;
  std::string output;
  std::string compress = "zstd";
  std::string max_bytes;
};

// What collect tells goes to the screen; its gaps are kept for the JSON as well.
class ToScreen final : public collect::Progress {
 public:
  explicit ToScreen(report::CollectScreen& screen) : screen_(screen) {}

  void held(const source::HoldCounts& counts, Timestamp at) override {
    screen_.held(counts.files, counts.programs, counts.tmpfs, counts.complete, at);
  }
  void phase_ended(const collect::PhaseEnd& phase) override {
    screen_.phase_ended(phase.number, phase.name, phase.took_ns, phase.text,
                        phase.digest ? to_hex(*phase.digest) : "");
  }
  void found(const Finding& finding) override { screen_.found(finding); }
  void changed(ChangeKind kind) override { screen_.changed(kind); }
  void gap(const Gap& gap) override {
    screen_.gap(gap);
    gaps_.push_back(gap);  // collect's log bounds them
  }
  std::string summary_text(const collect::Summary& summary) override {
    return screen_.summary_text(summary.took_ns);
  }
  [[nodiscard]] const std::vector<Gap>& gaps() const { return gaps_; }

 private:
  report::CollectScreen& screen_;
  std::vector<Gap> gaps_;
};

// The command as it was typed, with a place to write to before the "--" that would end its options.
std::string command_with_place(const std::vector<std::string>& typed, const std::string& place) {
  std::string command = "ctriage";
  const std::string output = " -o " + shell_word(place);
  const auto end = std::find(typed.begin(), typed.end(), "--");
  for (auto word = typed.begin() + (typed.empty() ? 0 : 1); word != typed.end(); ++word) {
    if (word == end) command += output;
    command += ' ' + shell_word(*word);
  }
  return end == typed.end() ? command + output : command;
}

// Usage is the first thing that can be wrong: the places are shown even if the target does not resolve.
Exit tell_places(const CollectArguments& arguments, Io& io) {
  io.err("ctriage: collect needs a place to write: -o DIR. Nothing was taken. Places on this node:\n");
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto opened = source::open_live(arguments.query, task);
  collect::KeepOut keep_out;
  if (opened) keep_out = collect::keep_out_of(**opened, task);
  const auto proc = Root::open("/proc");
  const auto places = proc ? collect::suggest_places(*proc, keep_out) : std::vector<collect::Place>{};
  for (const collect::Place& place : places) {
    io.err(
        "  " + escape_terminal(command_with_place(io.command_line, place.path)) + "    # " +
        escape_terminal(place.filesystem) + ", " + human_size(place.free_bytes) + " free" +
        (place.kubelet_disk ? ", kubelet's disk: " + human_size(place.allowed_bytes) + " may be used" : "") +
        "\n");
  }
  if (places.empty()) io.err("  none was found: name a directory that has room\n");
  if (!opened) (void)fail(io, opened.error());
  return Exit::usage;
}

// ", up 3h12m": of the container that runs longest, by the clock ticks of its first process.
std::string up_text(const source::LiveSnapshot& snapshot, const Source& source) {
  std::int64_t longest = -1;
  for (const source::LiveContainer& live : snapshot.containers()) {
    if (!source.booted_at || !source.taken_at || source.ticks_per_second == 0 || live.container.sandbox)
      continue;
    const auto since_boot =
        static_cast<std::int64_t>(live.container.init_start_ticks / source.ticks_per_second);
    longest = std::max(longest, source.taken_at->seconds - source.booted_at->seconds - since_boot);
  }
  return longest < 0 ? "" : ", up " + human_duration(longest);
}

std::string target_text(const source::LiveSnapshot& snapshot, const Source& source) {
  std::uint64_t processes = 0;
  std::uint64_t containers = 0;
  for (const source::LiveContainer& live : snapshot.containers()) {
    processes += live.processes.size();
    if (!live.container.sandbox) ++containers;
  }
  return snapshot.name() + " on " + source.node.raw + ": " + counted(containers, "container", "containers") +
         ", " + counted(processes, "process", "processes") + up_text(snapshot, source);
}

CollectResult result_of(const std::string& path, const collect::Summary& summary, Exit exit) {
  CollectResult result;
  result.path = Bytes(path);
  if (summary.not_sealed.empty()) {
    result.manifest_sha256 = to_hex(summary.manifest_digest);
  } else {
    result.not_sealed = Bytes(summary.not_sealed);
  }
  result.size_bytes = summary.size_bytes;
  result.complete = exit == Exit::complete || (exit == Exit::findings && summary.lost == 0);
  result.exit_status = static_cast<std::int32_t>(exit);
  CollectCounts& counts = result.counts;
  counts.containers = summary.counts.containers;
  counts.processes = summary.counts.processes;
  counts.sockets = summary.counts.sockets;
  if (summary.counts.layers_unread == 0) counts.changes = summary.counts.changes;
  counts.programs = summary.counts.programs;
  counts.logs = summary.counts.logs;
  counts.findings = summary.counts.findings;
  counts.held_files = summary.held.files;
  counts.held_programs = summary.held.programs;
  counts.gaps_lost = summary.lost;
  counts.gaps_degraded = summary.degraded;
  counts.gaps_note = summary.notes;
  result.hold_ns = summary.hold_ns;
  result.state_ns = summary.state_ns;
  result.took_ns = summary.took_ns;
  result.cpu_ns = summary.cpu_ns;
  result.resident_growth_bytes = summary.resident_growth_bytes;
  return result;
}

report::Closing closing_of(const CollectResult& result, const collect::Summary& summary,
                           const report::CollectScreen& screen) {
  report::Closing closing;
  closing.took_ns = summary.took_ns;
  closing.exit_status = result.exit_status;
  closing.changes_taken = summary.counts.changes > 0;
  closing.touched =
      report::touched_text(summary.resident_growth_bytes, screen.link_times_kept(), summary.cpu_ns);
  closing.bundle = result.path;
  closing.bundle_bytes = summary.size_bytes;
  closing.partial = !summary.not_sealed.empty();
  if (result.manifest_sha256) closing.sha256 = *result.manifest_sha256;
  const std::string word = shell_word(result.path.raw);
  closing.next = {{"ctriage show " + word, "what was seen"}, {"ctriage verify " + word, "check every byte"}};
  return closing;
}

Exit run_collect(const CollectArguments& arguments, const Common& common, Io& io) {
  std::optional<std::uint64_t> max_bytes = UINT64_MAX;
  if (!arguments.max_bytes.empty()) max_bytes = parse_size(arguments.max_bytes);
  if (!max_bytes) {
    io.err("ctriage: --max-bytes " + escape_terminal(arguments.max_bytes) + ": not a size like 512M or 8G\n");
    return Exit::usage;
  }
  if (arguments.output.empty()) return tell_places(arguments, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto opened = source::open_live(arguments.query, task);
  if (!opened) return fail(io, opened.error());
  source::LiveSnapshot& snapshot = **opened;
  const Root& proc = snapshot.node().proc;
  const collect::KeepOut keep_out = collect::keep_out_of(snapshot, task);

  auto directory = Root::open(arguments.output);
  if (!directory) return fail(io, std::move(directory).error().within("-o"));
  auto place = collect::check_place(*directory, arguments.output, proc, keep_out);
  if (!place) return fail(io, place.error());

  const bool text = common.output_format() == report::Format::text;
  const bool silent = common.quiet && !text;
  report::Screen::Write write = [&io, text, silent](std::string_view line) {
    if (silent) return;
    if (text) {
      (void)io.out(line);
    } else {
      io.err(line);
    }
  };
  report::CollectScreen screen(std::move(write), text ? io.out_style : io.err_style);

  auto source = snapshot.describe(task);
  if (!source) return fail(io, source.error());
  collect::Options options;
  options.tool = "ctriage " + std::string(kVersion);
  options.command_line = io.command_line;
  options.compression =
      arguments.compress == "none" ? collect::Compression::none : collect::Compression::zstd;
  options.workers = std::min(sys::cpu_count(), 4U);
  options.max_bytes = std::min(*max_bytes, place->allowed_bytes);
  screen.line("target", target_text(snapshot, *source));
  screen.line("writes", arguments.output + " (" + place->filesystem + ", " + human_size(place->free_bytes) +
                            " free" + (place->kubelet_disk ? "" : ", not kubelet's disk") + "), " +
                            human_size(options.max_bytes) + " at most");

  rules::Engine engine(*std::move(rules));
  ToScreen progress(screen);
  auto summary = collect::collect(snapshot, *directory, engine, options, progress, task);
  if (!summary) return fail(io, summary.error());

  const Exit exit = exit_for(common, screen.worst(), summary->lost);
  CollectResult result = result_of(
      arguments.output + (arguments.output.ends_with('/') ? "" : "/") + summary->path, *summary, exit);
  report::Closing closing = closing_of(result, *summary, screen);
  closing.every_gap = common.verbose;
  screen.close(std::move(closing));
  if (result.not_sealed) {
    io.err("ctriage: " + escape_terminal(result.path.raw) +
           ": not sealed: " + escape_terminal(result.not_sealed->raw) + "\n");
  }
  if (!text) {
    result.gaps = report::records_of(progress.gaps(), task.now());
    if (auto written = io.out(report::collect_json(result)); !written) return fail(io, written.error());
  }
  return exit;
}

}  // namespace

void add_collect(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<CollectArguments>();
  CLI::App* sub = app.add_subcommand("collect", "The triage: everything that will be gone, into one bundle");
  sub->group("On the node");
  sub->add_option("target", arguments->query.token, "pod, ns/pod, ns/pod/container, container ID, or pid:N")
      ->required();
  add_target_options(*sub, arguments->query);
  sub->add_option("-o,--output", arguments->output, "existing directory that the bundle is written to");
  sub->add_option("--compress", arguments->compress, "zstd or none")->check(CLI::IsMember({"zstd", "none"}));
  sub->add_option("--max-bytes", arguments->max_bytes, "of the bundle: 512M, 8G");
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage collect shop/web-7d9f -o /evidence\n  ctriage collect pid:48213 -o /mnt/usb "
      "--json\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_collect(*arguments, common, io); };
  });
}

}  // namespace ctriage
