#include "lib/collect/collect.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/collect_told.h"
#include "cmd/freeze.h"
#include "lib/collect/place.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct CollectArguments {
  source::TargetQuery query;
  std::string output;
  std::string compress = "zstd";
  std::string max_bytes;
  std::string deadline;
  std::string wait;
  std::string memory = "auto";
  std::string memory_each;
  std::string memory_max;
  FreezeArguments freeze;
  std::string file_pages = "changed";
  std::vector<std::string> only;
  std::vector<std::string> skip;
  std::vector<std::string> attach;
  bool plan = false;
  collect::Case about;
};

// What the arguments mean; anything wrong with them is a matter of usage.
struct Wanted {
  std::uint64_t max_bytes = UINT64_MAX;
  std::optional<std::int64_t> deadline_s;
  std::optional<std::int64_t> wait_s;
  collect::LeftOut left_out;
  collect::MemoryOptions memory;
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

// Leaves `into` as it is when nothing was typed.
Status take_size(const char* option, const std::string& text, std::uint64_t& into) {
  if (text.empty()) return Done{};
  const auto bytes = parse_size(text);
  if (!bytes)
    return Error{Errc::malformed, std::string(option) + " " + text + ": not a size like 512M or 8G"};
  into = *bytes;
  return Done{};
}

Result<collect::MemoryOptions> memory_of(const CollectArguments& arguments) {
  collect::MemoryOptions memory;
  memory.mode = parse_enum<collect::MemoryMode>(arguments.memory).value_or(collect::MemoryMode::automatic);
  memory.file_pages =
      parse_enum<memory::FilePages>(arguments.file_pages).value_or(memory::FilePages::changed);
  const struct {
    const char* option;
    const std::string& text;
    std::uint64_t& into;
  } limits[] = {{"--memory-each", arguments.memory_each, memory.each_bytes},
                {"--memory-max", arguments.memory_max, memory.max_bytes}};
  for (const auto& limit : limits) {
    if (auto taken = take_size(limit.option, limit.text, limit.into); !taken) return std::move(taken).error();
    if (!limit.text.empty() && memory.mode != collect::MemoryMode::automatic)
      return Error{Errc::malformed, std::string(limit.option) +
                                        ": is a limit of --memory auto, not of --memory " + arguments.memory};
  }
  auto freeze = freeze_choice_of(arguments.freeze);
  if (!freeze) return std::move(freeze).error();
  memory.freeze = *freeze;
  return memory;
}

Result<Wanted> wanted_of(const CollectArguments& arguments) {
  Wanted wanted;
  if (auto taken = take_size("--max-bytes", arguments.max_bytes, wanted.max_bytes); !taken)
    return std::move(taken).error();
  auto memory = memory_of(arguments);
  if (!memory) return std::move(memory).error();
  wanted.memory = *memory;
  const auto seconds = [](const char* option, const std::string& text) -> Result<std::int64_t> {
    const auto parsed = parse_duration(text);
    if (!parsed)
      return Error{Errc::malformed, std::string(option) + " " + text + ": not a time like 90s, 10m or 2h"};
    return *parsed;
  };
  if (!arguments.deadline.empty()) {
    auto limit = seconds("--deadline", arguments.deadline);
    if (!limit) return std::move(limit).error();
    wanted.deadline_s = *limit;
  }
  if (!arguments.wait.empty()) {
    auto limit = seconds("--wait", arguments.wait);
    if (!limit) return std::move(limit).error();
    wanted.wait_s = *limit;
  }
  auto left_out = collect::leave_out(arguments.only, arguments.skip, wanted.memory.mode);
  if (!left_out) return std::move(left_out).error();
  wanted.left_out = *std::move(left_out);
  return wanted;
}

// The files of --attach, open: what they cannot be read for is known before anything is taken.
Result<std::vector<collect::Attachment>> open_attachments(const std::vector<std::string>& paths,
                                                          const Task& task) {
  std::vector<collect::Attachment> attachments;
  for (const std::string& path : paths) {
    const auto slash = path.rfind('/');
    auto directory = Root::open(slash == std::string::npos ? "." : path.substr(0, slash + 1));
    if (!directory) return std::move(directory).error().within("--attach");
    collect::Attachment attachment;
    attachment.path = path;
    attachment.name = path.substr(slash + 1);
    auto file = directory->open_beneath(attachment.name);
    if (!file) return std::move(file).error().within("--attach");
    auto info = file_info(file->get(), path);
    if (!info) return std::move(info).error().within("--attach");
    attachment.size_bytes = info->size_bytes;
    attachment.bytes = std::make_unique<FdSource>(*std::move(file), path, task);
    attachments.push_back(std::move(attachment));
  }
  return attachments;
}

// --plan: nothing is taken.
Exit tell_plan(source::LiveSnapshot& snapshot, const Wanted& wanted, const Common& common, Task& task,
               Io& io) {
  static_cast<void>(snapshot.hold(task));
  const auto plan = collect::plan_of(snapshot, wanted.left_out, wanted.memory);
  PlanResult result;
  result.target = Bytes(snapshot.name());
  result.seconds = seconds_of(plan);
  for (const collect::PlanLine& line : plan) {
    PlannedStep step;
    step.name = line.collector->name;
    step.group = line.collector->group;
    step.gone_with = to_text(line.collector->volatility);
    step.what = line.collector->what;
    step.size_bytes = line.bytes;
    if (!line.left_out.empty()) step.left_out = line.left_out;
    result.steps.push_back(std::move(step));
  }
  const bool text = common.output_format() == report::Format::text;
  if (!text) result.gaps = report::records_of(task.gaps.kept(), task.now());
  auto written = io.out(text ? report::plan_text(result, io.out_style) : report::plan_json(result));
  if (text) tell_gaps(io, common, task.gaps);
  if (!written) return fail(io, written.error());
  return task.gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
}

Exit run_collect(const CollectArguments& arguments, const Common& common, Io& io) {
  auto wanted = wanted_of(arguments);
  if (!wanted) {
    (void)fail(io, wanted.error());
    return Exit::usage;
  }
  if (arguments.output.empty() && !arguments.plan) return tell_places(arguments, io);
  auto rules = load_rules(common);
  if (!rules) return fail(io, rules.error());
  GapLog gaps;
  Task task = make_task(gaps, io);
  const auto start_deadline = [&] {
    if (wanted->deadline_s) task.deadline_ns = sys::boottime_ns() + *wanted->deadline_s * 1'000'000'000;
  };
  if (!wanted->wait_s) start_deadline();
  // Opened before the sandbox, which the target's formats are parsed in.
  const bool piped = arguments.output == "-";
  UniqueFd pipe;
  if (piped && !arguments.plan) {
    auto out = sys::duplicate(STDOUT_FILENO, "standard output");
    if (!out) return fail(io, out.error());
    pipe = *std::move(out);
    if (sys::is_terminal(pipe.get())) {
      io.err(
          "ctriage: -o -: standard output is a terminal, and a bundle is not for reading; use a pipe or a "
          "file\n");
      return Exit::usage;
    }
  }
  auto attachments = open_attachments(arguments.attach, task);
  if (!attachments) return fail(io, attachments.error());
  auto opened = wanted->wait_s ? source::wait_live(arguments.query, *wanted->wait_s, task)
                               : source::open_live(arguments.query, task);
  if (!opened) return fail(io, opened.error());
  if (wanted->wait_s) start_deadline();  // it began with the target
  source::LiveSnapshot& snapshot = **opened;
  if (arguments.plan) return tell_plan(snapshot, *wanted, common, task, io);
  const Root& proc = snapshot.node().proc;

  collect::Options options;
  options.max_bytes = wanted->max_bytes;
  std::optional<Root> directory;
  std::string writes =
      "standard output, " + (wanted->max_bytes == UINT64_MAX ? std::string("without a limit")
                                                             : human_size(wanted->max_bytes) + " at most");
  if (!piped) {
    const collect::KeepOut keep_out = collect::keep_out_of(snapshot, task);
    auto found = Root::open(arguments.output);
    if (!found) return fail(io, std::move(found).error().within("-o"));
    auto place = collect::check_place(*found, arguments.output, proc, keep_out);
    if (!place) return fail(io, place.error());
    directory = *std::move(found);
    options.max_bytes = std::min(options.max_bytes, place->allowed_bytes);
    writes = arguments.output + " (" + place->filesystem + ", " + human_size(place->free_bytes) + " free" +
             (place->kubelet_disk ? "" : ", not kubelet's disk") + "), " + human_size(options.max_bytes) +
             " at most";
  }

  const bool text = common.output_format() == report::Format::text;
  const bool silent = common.quiet && (!text || piped);
  const bool to_stderr = piped || !text;
  report::Screen::Write write = [&io, to_stderr, silent](std::string_view line) {
    if (silent) return;
    if (to_stderr) {
      io.err(line);
    } else {
      (void)io.out(line);
    }
  };
  report::CollectScreen screen(std::move(write), to_stderr ? io.err_style : io.out_style);

  auto source = snapshot.describe(task);
  if (!source) return fail(io, source.error());
  options.tool = "ctriage " + std::string(kVersion);
  options.command_line = io.command_line;
  options.compression =
      arguments.compress == "none" ? collect::Compression::none : collect::Compression::zstd;
  options.workers = std::min(sys::cpu_count(), 4U);
  options.left_out = wanted->left_out;
  options.memory = wanted->memory;
  options.about = arguments.about;
  options.attachments = *std::move(attachments);
  screen.line("target", target_text(snapshot, *source));

  rules::Engine engine(*std::move(rules));
  ToScreen progress(screen, options.left_out, options.memory, std::move(writes));
  const collect::Output output = piped ? collect::Output(&pipe) : collect::Output(&*directory);
  auto summary = collect::collect(snapshot, output, engine, options, progress, task);
  if (!summary) return fail(io, summary.error());

  const Exit exit = exit_for(common, screen.worst(), summary->lost);
  const std::string folder = piped ? "" : arguments.output + (arguments.output.ends_with('/') ? "" : "/");
  CollectResult result = result_of(folder + summary->path, *summary, options.left_out, exit);
  report::Closing closing = closing_of(result, *summary, screen, piped);
  closing.every_gap = common.verbose;
  closing.left_out = left_out_lines(options.left_out, *summary);
  add_keep_lines(snapshot, *source, arguments.about.id, closing);
  screen.close(std::move(closing));
  if (result.not_sealed) {
    io.err("ctriage: " + escape_terminal(result.path.raw) +
           ": not sealed: " + escape_terminal(result.not_sealed->raw) + "\n");
  }
  if (!text) {
    result.gaps = report::records_of(progress.gaps(), task.now());
    const std::string document = report::collect_json(result);
    if (piped) {  // standard output is the bundle
      io.err(document);
    } else if (auto written = io.out(document); !written) {
      return fail(io, written.error());
    }
  }
  return exit;
}

}  // namespace

void add_collect(CLI::App& app, Common& common, Action& chosen) {
  auto arguments = std::make_shared<CollectArguments>();
  CLI::App* sub = app.add_subcommand("collect", "The triage: everything that will be gone, into one bundle");
  sub->group("On the node");
  sub->add_option("target", arguments->query.token, "pod, ns/pod, ns/pod/container, container ID, or pid:N");
  add_target_options(*sub, arguments->query);
  add_label_option(*sub, arguments->query.labels);
  sub->add_option("-o,--output", arguments->output,
                  "existing directory that the bundle is written to, or - for standard output");
  sub->add_flag("--plan", arguments->plan, "say what would be taken and about how much, and take nothing");
  sub->add_option("--only", arguments->only,
                  "take these groups or collectors only: state, files, upper, ... (--plan)")
      ->delimiter(',');
  sub->add_option("--skip", arguments->skip, "leave these out")->delimiter(',');
  sub->add_option("--memory", arguments->memory,
                  "of processes: auto (suspicious ones whole, the others within limits), all or none")
      ->check(CLI::IsMember({"auto", "all", "none"}));
  sub->add_option("--memory-each", arguments->memory_each,
                  "with auto: the most of one process that is not suspicious, 512M");
  sub->add_option("--memory-max", arguments->memory_max, "with auto: the most of all such processes, 4G");
  sub->add_option(
         "--file-pages", arguments->file_pages,
         "of mapped files in memory: changed (private copies), all (every page that is there) or none")
      ->check(CLI::IsMember({"changed", "all", "none"}));
  add_freeze_options(*sub, arguments->freeze);
  sub->add_option("--deadline", arguments->deadline, "end and seal after that time: 90s, 10m");
  sub->add_option("--wait", arguments->wait,
                  "wait that long for the target to start, and hold it at once: 10m");
  sub->add_option("--compress", arguments->compress, "zstd or none")->check(CLI::IsMember({"zstd", "none"}));
  sub->add_option("--max-bytes", arguments->max_bytes, "of the bundle: 512M, 8G");
  sub->add_option("--case", arguments->about.id, "the case's number; the bundle's name begins with it");
  sub->add_option("--item", arguments->about.item, "the evidence item's number");
  sub->add_option("--examiner", arguments->about.examiner, "who takes the evidence");
  sub->add_option("--authority", arguments->about.authority, "on whose authority");
  sub->add_option("--note", arguments->about.note, "free text for the bundle");
  sub->add_option("--attach", arguments->attach, "a file that goes into the bundle, too; may be given again");
  add_rule_options(*sub, common);
  sub->footer(
      "Examples:\n  ctriage collect shop/web-7d9f -o /evidence --case IR-41\n"
      "  ctriage collect pid:48213 -o /mnt/usb --json\n"
      "  ctriage collect shop/web-7d9f --skip logs --deadline 90s -o - | ssh host 'cat > web.ctriage.tar'\n"
      "  ctriage collect batch/export --wait 10m -o /evidence\n");
  sub->callback([arguments, &common, &chosen] {
    if (arguments->query.labels.empty() && arguments->query.token.empty()) throw CLI::RequiredError("target");
    chosen = [arguments, &common](Io& io) { return run_collect(*arguments, common, io); };
  });
}

}  // namespace ctriage
