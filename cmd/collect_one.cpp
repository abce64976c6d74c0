#include "cmd/collect_one.h"

#include <unistd.h>

#include <algorithm>

#include "cmd/acknowledge.h"
#include "cmd/collect_told.h"
#include "lib/collect/place.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/export.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

constexpr std::uint64_t kLeastBytes = 64 << 20;  // that each who comes after is left: its state fits
constexpr std::int64_t kLeastNs = 10'000'000'000;

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
  const bool unasked = arguments.all_pods && !arguments.memory_typed;
  const std::string kUnasked = ": --all-pods takes no memory; add --memory auto";
  const struct {
    const char* option;
    const std::string& text;
    std::uint64_t& into;
  } limits[] = {{"--memory-each", arguments.memory_each, memory.each_bytes},
                {"--memory-max", arguments.memory_max, memory.max_bytes}};
  for (const auto& limit : limits) {
    if (auto taken = take_size(limit.option, limit.text, limit.into); !taken) return std::move(taken).error();
    if (!limit.text.empty() && unasked) return Error{Errc::malformed, limit.option + kUnasked};
    if (!limit.text.empty() && memory.mode != collect::MemoryMode::automatic)
      return Error{Errc::malformed, std::string(limit.option) +
                                        ": is a limit of --memory auto, not of --memory " + arguments.memory};
  }
  auto freeze = freeze_choice_of(arguments.freeze);
  if (!freeze) return std::move(freeze).error();
  if (memory.mode == collect::MemoryMode::none && freeze->mode != memory::FreezeMode::none &&
      (freeze->typed || !arguments.freeze.most.empty()))
    return Error{Errc::malformed, (freeze->typed ? "--freeze" : "--freeze-max") +
                                      (unasked ? kUnasked : ": no memory is taken with --memory none")};
  memory.freeze = *freeze;
  memory.swap_in = arguments.swap_in;
  return memory;
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

// The deadline of --deadline begins with the target.
std::int64_t deadline_of(const Wanted& wanted) {
  return wanted.deadline_s ? sys::boottime_ns() + *wanted.deadline_s * 1'000'000'000 : INT64_MAX;
}

struct Where {
  std::optional<Root> directory;  // none: standard output
  std::uint64_t max_bytes = UINT64_MAX;
  std::string text;  // for the screen
};

Result<Where> choose_place(const OneTarget& one, const std::optional<Outlet>& outlet,
                           const source::LiveSnapshot& snapshot, const Share& share, Task& task) {
  const std::string& output = one.arguments.output;
  Where where;
  where.max_bytes = std::min(one.wanted.max_bytes, share.bytes);
  if (outlet) {
    where.text = outlet->text();
    return where;
  }
  if (output == "-") {
    where.text =
        "standard output, " + (where.max_bytes == UINT64_MAX ? std::string("without a limit")
                                                             : human_size(where.max_bytes) + " at most");
    return where;
  }
  const collect::KeepOut keep_out = collect::keep_out_of(snapshot, task);
  auto found = Root::open(output);
  if (!found) return std::move(found).error().within("-o");
  auto place = collect::check_place(*found, output, snapshot.node().proc, keep_out);
  if (!place) return std::move(place).error();
  where.directory = *std::move(found);
  where.max_bytes = own_share(std::min(where.max_bytes, place->allowed_bytes), share.after, kLeastBytes);
  where.text = output + " (" + place->filesystem + ", " + human_size(place->free_bytes) + " free" +
               (place->kubelet_disk ? "" : ", not kubelet's disk") + "), " + human_size(where.max_bytes) +
               " at most";
  return where;
}

}  // namespace

Result<Wanted> wanted_of(const CollectArguments& arguments) {
  Wanted wanted;
  if (auto taken = take_size("--max-bytes", arguments.max_bytes, wanted.max_bytes); !taken)
    return std::move(taken).error();
  if (auto taken = take_size("--volume-max", arguments.volume_max, wanted.volume_max_bytes); !taken)
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

std::uint64_t own_share(std::uint64_t total, std::uint64_t after, std::uint64_t least) {
  return total - after * std::min(least, total / (after + 1));
}

Result<PlanResult> plan_one(const OneTarget& one, GapLog& gaps, Io& io) {
  Task task = make_task(gaps, io);
  auto opened = source::open_held(one.query, {one.hold_share, one.wanted.wait_s}, task);
  if (!opened) return std::move(opened).error();
  source::LiveSnapshot& snapshot = **opened;
  snapshot.add_ended(task);
  snapshot.hold(task);
  collect::LeftOut left_out = one.wanted.left_out;
  collect::leave_out_gone(snapshot, left_out);
  const auto plan = collect::plan_of(snapshot, left_out, one.wanted.memory);
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
  return result;
}

Result<Taken> collect_one(const OneTarget& one, Io& io) {
  const CollectArguments& arguments = one.arguments;
  const Wanted& wanted = one.wanted;
  const Common& common = one.common;
  auto rules = load_rules(common);
  if (!rules) return std::move(rules).error();
  GapLog gaps;
  Task task = make_task(gaps, io);
  if (!wanted.wait_s && !one.turn) task.deadline_ns = deadline_of(wanted);
  // Opened before the sandbox, which the target's formats are parsed in.
  const bool piped = arguments.output == "-";
  UniqueFd pipe;
  std::optional<Acknowledged> acknowledged;
  if (arguments.ack) {
    auto started = Acknowledged::start(io.on_stop);
    if (!started) return std::move(started).error();
    acknowledged.emplace(*std::move(started));
    pipe = acknowledged->take_pipe();
  } else if (piped) {
    auto out = sys::duplicate(STDOUT_FILENO, "standard output");
    if (!out) return std::move(out).error();
    pipe = *std::move(out);
  }
  auto sealing = open_sealing(arguments.seal);
  if (!sealing) return std::move(sealing).error();
  std::optional<Outlet> outlet;
  if (!arguments.to.urls.empty()) {
    auto started = Outlet::start(arguments.to, !sealing->recipients.empty(), io);
    if (!started) return std::move(started).error();
    outlet.emplace(*std::move(started));
  }
  auto attachments = open_attachments(arguments.attach, task);
  if (!attachments) return std::move(attachments).error();
  auto opened = source::open_held(one.query, {one.hold_share, wanted.wait_s}, task);
  if (!opened) return std::move(opened).error();
  if (wanted.wait_s) task.deadline_ns = deadline_of(wanted);  // it began with the target
  source::LiveSnapshot& snapshot = **opened;
  Share share;
  if (one.turn) {
    snapshot.add_ended(task);  // the pod may be deleted before its turn
    snapshot.hold(task);
    auto turn = one.turn(snapshot);
    if (!turn) return std::move(turn).error();
    share = *turn;
    const std::int64_t now_ns = sys::boottime_ns();
    const auto left_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(share.deadline_ns - now_ns, 0));
    task.deadline_ns = share.deadline_ns == INT64_MAX
                           ? INT64_MAX
                           : now_ns + static_cast<std::int64_t>(own_share(left_ns, share.after, kLeastNs));
  }
  auto where = choose_place(one, outlet, snapshot, share, task);
  if (!where) return std::move(where).error();

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
  if (!source) return std::move(source).error();
  collect::Options options;
  options.tool = "ctriage " + std::string(kVersion);
  options.command_line = io.command_line;
  options.compression =
      arguments.compress == "none" ? collect::Compression::none : collect::Compression::zstd;
  options.workers = std::min(sys::cpu_count(), 4U);
  options.max_bytes = where->max_bytes;
  options.left_out = wanted.left_out;
  collect::leave_out_gone(snapshot, options.left_out);
  options.memory = wanted.memory;
  options.volume_max_bytes = wanted.volume_max_bytes;
  options.about = arguments.about;
  options.attachments = *std::move(attachments);
  options.recipients = sealing->recipients;
  options.signer = sealing->signer;
  if (outlet) {
    snapshot.hold(task);  // logging in takes its time
    options.name = collect::bundle_name(options.about.id, *source, snapshot);
    const std::string file = options.name + ".ctriage.tar" + (options.recipients.empty() ? "" : ".age");
    if (auto begun = outlet->begin(file, snapshot.node().proc, collect::keep_out_of(snapshot, task), io);
        !begun)
      return std::move(begun).error();
    options.may_take = [&outlet](const collect::Collector&) { return outlet->wait_for_room(); };
    pipe = outlet->take_pipe();
  }
  if (!sealing->told.empty()) where->text += ", " + sealing->told;
  screen.line("target", target_text(snapshot, *source));

  rules::Engine engine(*std::move(rules));
  engine.set_time(task.now());
  ToScreen progress(screen, options.left_out, options.memory, std::move(where->text));
  const collect::Output output = pipe ? collect::Output(&pipe) : collect::Output(&*where->directory);
  auto summary = collect::collect(snapshot, output, engine, options, progress, task);
  if (!summary) return std::move(summary).error();

  Taken taken;
  taken.exit = exit_for(common, screen.worst(), summary->lost);
  if (outlet) {
    auto sent = outlet->finish(
        summary->not_sealed.empty() ? std::optional(summary->manifest_digest) : std::nullopt, io);
    if (!sent) return std::move(sent).error();
    taken.exit = worse(taken.exit, exit_of(*sent));
    taken.sent = *std::move(sent);
  }
  taken.critical = screen.findings().of(Severity::critical);
  taken.high = screen.findings().of(Severity::high);
  std::optional<Status> taken_in;  // what the other end of the pipe says
  if (acknowledged) {
    taken_in = acknowledged->finish();
    if (!*taken_in) taken.exit = worse(taken.exit, Exit::lost);
  }
  const std::string path = piped || outlet ? summary->path : name_in(arguments.output, summary->path);
  taken.result = result_of(path, *summary, options.left_out, taken.exit);
  for (const bundle::AgeRecipient& recipient : options.recipients)
    taken.result.encrypted_to.emplace_back(recipient.text());
  report::Closing closing = closing_of(taken.result, *summary, screen, piped || outlet);
  closing.every_gap = common.verbose;
  closing.left_out = left_out_lines(options.left_out, *summary);
  add_keep_lines(snapshot, *source, arguments.about.id, closing);
  screen.close(std::move(closing));
  if (piped) {
    screen.line("receiver", !taken_in   ? "not acknowledged: whether all of it arrived is not known (--ack)"
                            : *taken_in ? std::string("has acknowledged all of it")
                                        : "NOT ACKNOWLEDGED: " + escape_terminal(taken_in->error().what));
  }
  if (taken.sent) {
    for (const ExportDestination& place : *taken.sent) screen.line("to", report::destination_text(place));
  }
  taken.result.gaps = report::records_of(progress.gaps(), task.now());
  return taken;
}

}  // namespace ctriage
