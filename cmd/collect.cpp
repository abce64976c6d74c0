#include "lib/collect/collect.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/collect/place.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/screen.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct CollectArguments {
  source::TargetQuery query;
  std::string output;
  std::string compress = "zstd";
  std::string max_bytes;
};

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// What a person reads while it runs; the same text becomes SUMMARY.txt.
class CollectScreen final : public collect::Progress {
 public:
  CollectScreen(report::Screen::Write write, report::Style style,
                std::function<void(std::string_view)> progress)
      : screen_(std::move(write), style),
        plain_([this](std::string_view text) { so_far_ += text; }, {}),
        progress_(std::move(progress)) {}

  void line(std::string_view label, std::string_view text, std::string_view right = {}) const {
    screen_.line(label, text, right);
    plain_.line(label, text, right);
  }
  void held(const source::HoldCounts& counts, Timestamp at) override {
    std::string text = std::to_string(counts.files) + " files, " + std::to_string(counts.programs) +
                       " programs, " + std::to_string(counts.tmpfs) +
                       " tmpfs are open now and outlive the container";
    if (!counts.complete) text += "; not all of the upper layer fits";
    line("held", text, report::clock_text(at));
  }
  void phase_ended(const collect::PhaseEnd& phase) override {
    if (progress_ && told_progress_) progress_("\r\x1b[K");
    told_progress_ = false;
    std::string right;
    if (phase.digest) right = "sealed, digest " + to_hex(std::span(*phase.digest).first(8));
    for (const report::Screen* each : {&screen_, &plain_}) {
      each->phase(phase.number, phase.name, phase.took_ns, phase.text, right);
    }
  }
  void found(const Finding& finding) override {
    findings_.add(finding.severity);
    screen_.finding(finding);
    plain_.finding(finding);
  }
  void changed(ChangeKind kind) override {
    changes_.add(kind);
    constexpr std::uint64_t kEvery = 64;
    if (!progress_ || changes_.total() % kEvery != 0) return;
    const std::int64_t now = sys::boottime_ns();
    if (now - last_progress_ns_ < kNsPerSecond) return;
    if (last_progress_ns_ != 0) {
      progress_("\r" + std::to_string(changes_.total()) + " changes ...");
      told_progress_ = true;
    }
    last_progress_ns_ = now;
  }
  void gap(const Gap& gap) override {
    if (gap.artifact == "atime") link_times_kept_ = false;
    gaps_.add(gap);
  }
  std::string summary_text(const collect::Summary& summary) override {
    std::string text = so_far_ + "took      " + std::to_string(summary.took_ns / 1'000'000) + " ms\n" +
                       "findings  " + findings_.text() + "; " + changes_.text() + "\n" + "gaps      " +
                       gaps_.text() + "\n";
    for (const std::string& gap : gaps_.lines(SIZE_MAX)) text += "          " + gap + "\n";
    return text;
  }

  [[nodiscard]] const report::Screen& screen() const { return screen_; }
  [[nodiscard]] const report::FindingTally& findings() const { return findings_; }
  [[nodiscard]] const report::ChangeTally& changes() const { return changes_; }
  [[nodiscard]] const report::GapTally& gaps() const { return gaps_; }
  [[nodiscard]] bool link_times_kept() const { return link_times_kept_; }

 private:
  std::string so_far_;
  report::Screen screen_;
  report::Screen plain_;  // the same words for SUMMARY.txt: no colour, 120 columns
  std::function<void(std::string_view)> progress_;
  report::FindingTally findings_;
  report::ChangeTally changes_;
  report::GapTally gaps_;
  std::int64_t last_progress_ns_ = 0;
  bool told_progress_ = false;
  bool link_times_kept_ = true;
};

// "512M", "8G", "1048576".
std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t unit = 1;
  if (!text.empty()) {
    const std::string_view units = "KMGT";
    const auto at = units.find(text.back());
    if (at != std::string_view::npos) {
      unit = std::uint64_t{1} << (10 * (at + 1));
      text.remove_suffix(1);
    }
  }
  const auto count = parse_number<std::uint64_t>(text);
  if (!count || *count > UINT64_MAX / unit) return std::nullopt;
  return *count * unit;
}

Exit tell_places(const CollectArguments& arguments, const collect::KeepOut& keep_out, const Root& proc,
                 Io& io) {
  io.err("ctriage: collect needs a place to write: -o DIR. Nothing was taken. Places on this node:\n");
  for (const collect::Place& place : collect::suggest_places(proc, keep_out)) {
    io.err(
        "  ctriage collect " + shell_word(arguments.query.token) + " -o " + shell_word(place.path) +
        "    # " + escape_terminal(place.filesystem) + ", " + human_size(place.free_bytes) + " free" +
        (place.kubelet_disk ? ", kubelet's disk: " + human_size(place.allowed_bytes) + " may be used" : "") +
        "\n");
  }
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
  return snapshot.name() + " on " + source.node.raw + ": " + std::to_string(containers) +
         (containers == 1 ? " container, " : " containers, ") + std::to_string(processes) +
         (processes == 1 ? " process" : " processes") + up_text(snapshot, source);
}

std::string touched_text(const collect::Summary& summary, bool link_times_kept) {
  const std::int64_t grown = summary.resident_growth_bytes / 1024;
  std::string text = "0 bytes in the container, 0 ms frozen, its memory " +
                     std::string(grown < 0 ? "" : "+") + std::to_string(grown) + " KiB, ";
  text += link_times_kept ? "access times unchanged" : "access times may have changed";
  return text + ", " + std::to_string(summary.cpu_ns / 100'000'000 / 10) + "." +
         std::to_string(summary.cpu_ns / 100'000'000 % 10) + " CPU s";
}

std::string collect_json(const std::string& path, const collect::Summary& summary, Exit exit) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.member_value("schema", std::string("ctriage.collect/1"));
  writer.member_value("path", Bytes(path));
  if (summary.not_sealed.empty()) writer.member_value("manifest_sha256", to_hex(summary.manifest_digest));
  writer.member_value("size_bytes", summary.size_bytes);
  writer.member_value("complete", exit == Exit::complete || (exit == Exit::findings && summary.lost == 0));
  if (!summary.not_sealed.empty()) writer.member_value("not_sealed", Bytes(summary.not_sealed));
  writer.member_value("exit_status", static_cast<int>(exit));
  writer.key("counts");
  writer.begin_object();
  writer.member_value("containers", summary.counts.containers);
  writer.member_value("processes", summary.counts.processes);
  writer.member_value("sockets", summary.counts.sockets);
  if (summary.counts.layers_unread == 0) writer.member_value("changes", summary.counts.changes);
  writer.member_value("programs", summary.counts.programs);
  writer.member_value("logs", summary.counts.logs);
  writer.member_value("findings", summary.counts.findings);
  writer.member_value("held_files", summary.held.files);
  writer.member_value("held_programs", summary.held.programs);
  writer.member_value("gaps_lost", summary.lost);
  writer.member_value("gaps_degraded", summary.degraded);
  writer.member_value("gaps_note", summary.notes);
  writer.end_object();
  writer.member_value("hold_ns", summary.hold_ns);
  writer.member_value("state_ns", summary.state_ns);
  writer.member_value("took_ns", summary.took_ns);
  writer.member_value("cpu_ns", summary.cpu_ns);
  writer.member_value("resident_growth_bytes", summary.resident_growth_bytes);
  writer.end_object();
  return out + "\n";
}

Exit run_collect(const CollectArguments& arguments, const Common& common, Io& io) {
  std::optional<std::uint64_t> max_bytes = UINT64_MAX;
  if (!arguments.max_bytes.empty()) max_bytes = parse_size(arguments.max_bytes);
  if (!max_bytes) {
    io.err("ctriage: --max-bytes " + escape_terminal(arguments.max_bytes) + ": not a size like 512M or 8G\n");
    return Exit::usage;
  }
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto opened = source::open_live(arguments.query, task);
  if (!opened) return fail(io, opened.error());
  source::LiveSnapshot& snapshot = **opened;
  const Root& proc = snapshot.node().proc;
  const collect::KeepOut keep_out = collect::keep_out_of(snapshot, task);
  if (arguments.output.empty()) return tell_places(arguments, keep_out, proc, io);

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
  std::function<void(std::string_view)> progress;
  if (!common.quiet && sys::is_terminal(2)) progress = [&io](std::string_view line) { io.err(line); };
  CollectScreen screen(std::move(write), text ? io.out_style : io.err_style, std::move(progress));

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
  auto summary = collect::collect(snapshot, *directory, engine, options, screen, task);
  if (!summary) return fail(io, summary.error());

  const Exit exit = exit_for(common, screen.findings().worst(), summary->lost);
  const std::string path = arguments.output + (arguments.output.ends_with('/') ? "" : "/") + summary->path;
  report::Closing closing;
  closing.took_ns = summary->took_ns;
  closing.exit_status = static_cast<int>(exit);
  closing.findings = screen.findings();
  closing.changes = screen.changes();
  closing.changes_taken = summary->counts.changes > 0;
  closing.gaps = screen.gaps();
  closing.touched = touched_text(*summary, screen.link_times_kept());
  closing.bundle = Bytes(path);
  closing.bundle_bytes = summary->size_bytes;
  closing.partial = !summary->not_sealed.empty();
  if (!closing.partial) closing.sha256 = to_hex(summary->manifest_digest);
  const std::string word = shell_word(path);
  closing.next = {{"ctriage show " + word, "what was seen"}, {"ctriage verify " + word, "check every byte"}};
  screen.screen().closing(closing);
  if (closing.partial)
    io.err("ctriage: " + escape_terminal(path) + ": not sealed: " + escape_terminal(summary->not_sealed) +
           "\n");
  if (!text) {
    if (auto written = io.out(collect_json(path, *summary, exit)); !written) return fail(io, written.error());
  }
  return exit;
}

}  // namespace

void add_collect(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<CollectArguments>();
  CLI::App* sub = app.add_subcommand("collect", "The triage: everything that will be gone, into one bundle");
  sub->group("On the node");
  sub->add_option("target", arguments->query.token, "pod, ns/pod, ns/pod/container, container ID, or pid:N")
      ->required();
  add_target_options(*sub, arguments->query);
  sub->add_option("-o,--output", arguments->output, "existing directory that the bundle is written to");
  sub->add_option("--compress", arguments->compress, "zstd or none")->check(CLI::IsMember({"zstd", "none"}));
  sub->add_option("--max-bytes", arguments->max_bytes, "of the bundle: 512M, 8G");
  sub->footer(
      "Examples:\n  ctriage collect shop/web-7d9f -o /evidence\n  ctriage collect pid:48213 -o /mnt/usb "
      "--json\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_collect(*arguments, common, io); };
  });
}

}  // namespace ctriage
