#include "lib/collect/collect.h"

#include <array>
#include <atomic>
#include <ctime>
#include <set>

#include "lib/bundle/names.h"
#include "lib/collect/collection.h"
#include "lib/collect/plan.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/ended.h"
#include "lib/source/live/programs.h"

namespace ctriage::collect {
namespace {

std::uint64_t upper_bytes(const source::LiveSnapshot& snapshot, const MemoryOptions& /*memory*/) {
  std::uint64_t bytes = 0;
  for (const source::LiveContainer& live : snapshot.containers()) bytes += live.held.bytes();
  return bytes;
}

std::uint64_t log_bytes(const source::LiveSnapshot& snapshot, const MemoryOptions& /*memory*/) {
  std::uint64_t bytes = 0;
  for (const source::LiveContainer& live : snapshot.containers()) {
    for (const source::HeldLog& held : live.logs) bytes += held.log.size_bytes;
  }
  return bytes;
}

// The one table: order, phases, --plan, --only and --skip come from it.
constexpr std::array<Collector, 23> kCollectors{{
    {"containers", "state", Volatility::pod, "identity and OCI spec of each container", nullptr,
     take_containers},
    {"processes", "state", Volatility::process,
     "processes with credentials, capabilities, namespaces, programs", nullptr, take_processes,
     Needs::processes},
    {"posture", "state", Volatility::pod, "what the containers may do, tokens, execs", nullptr, take_posture},
    {"sockets", "state", Volatility::process, "sockets of the pod's network namespace with their owners",
     nullptr, take_sockets, Needs::processes},
    {"network", "state", Volatility::process,
     "interfaces, routes, neighbours, and the node's flows of the pod", nullptr, take_network,
     Needs::processes},
    {"descriptors", "state", Volatility::process, "open files", nullptr, take_descriptors, Needs::processes},
    {"threads", "state", Volatility::process, "threads", nullptr, take_threads, Needs::processes},
    {"mappings", "state", Volatility::process, "memory mappings", nullptr, take_mappings, Needs::processes},
    {"mounts", "state", Volatility::process, "mounts and layers", nullptr, take_mounts},
    {"raw", "state", Volatility::process, "texts of /proc/PID as they are", nullptr, take_raw,
     Needs::processes},
    {"suspicious_memory", kMemoryGroup, Volatility::process,
     "memory of processes that do not belong, and of what they started", nullptr, take_suspicious_memory,
     Needs::processes},
    {"programs", "files", Volatility::process, "running programs that are not in the image", nullptr,
     take_programs, Needs::processes},
    {"libraries", "files", Volatility::process,
     "mapped libraries that are not in the image, and those of suspicious programs", nullptr, take_libraries,
     Needs::processes},
    {"tmpfs", "files", Volatility::container, "the tmpfs of the containers", nullptr, take_tmpfs,
     Needs::processes},
    {"upper", "files", Volatility::container, "the UpperDir and what it changed", upper_bytes, take_upper},
    {"volumes", "volumes", Volatility::pod,
     "writable volumes: what is in them, bytes of programs and of small files", nullptr, take_volumes},
    {"logs", "logs", Volatility::pod, "container logs", log_bytes, take_logs},
    {"node", "node", Volatility::node, "kernel, mounts and os-release of the node", nullptr, take_node},
    {"node_config", "node", Volatility::node, "configuration of kubelet and runtimes, kernel modules",
     nullptr, take_node_config},
    {"kernel_log", "node", Volatility::node, "what the node's kernel said", nullptr, take_kernel_log,
     Needs::running_node},
    {"newer", "node", Volatility::node, "what on the node is newer than the pod and may be its work", nullptr,
     take_newer},
    {"node_logs", "node", Volatility::node, "what kubelet and runtime wrote about the pod, and the journal",
     nullptr, take_node_logs},
    {"other_memory", kMemoryGroup, Volatility::process, "memory of the other processes, within the limits",
     memory_bytes, take_other_memory, Needs::processes},
}};

std::string time_stamp(Timestamp at) {
  std::string text = to_rfc3339(at).substr(0, 19) + "Z";  // 2026-11-21T19:28:51Z
  std::erase(text, '-');
  std::erase(text, ':');
  return text;
}

// Folders of containers: the name, "<name>.<attempt>" for a later instance, and the id where that still
// collides.
void name_folders(std::vector<source::LiveContainer>& containers) {
  std::set<std::string> taken;
  for (source::LiveContainer& live : containers) {
    const Container& container = live.container;
    std::string folder = bundle::member_name(container.sandbox ? "sandbox" : container.name.raw);
    if (taken.contains(folder)) folder += "." + std::to_string(container.attempt);
    if (taken.contains(folder)) folder = bundle::member_name(container.id);
    for (unsigned copy = 2; taken.contains(folder); ++copy)  // an id that an engine's record claims, too
      folder = bundle::member_name(container.id + "." + std::to_string(copy));
    taken.insert(folder);
    live.member = folder;
  }
}

void write_case(JsonWriter& writer, const Case& about) {
  writer.key("case");
  writer.begin_object();
  for (const auto& [key, value] :
       {std::pair{"id", &about.id}, std::pair{"item", &about.item}, std::pair{"examiner", &about.examiner},
        std::pair{"authority", &about.authority}, std::pair{"note", &about.note}}) {
    if (!value->empty()) writer.member_value(key, Bytes(*value));
  }
  writer.end_object();
}

std::string bundle_json(const Source& source, const Options& options,
                        const std::optional<std::string>& tool_digest) {
  std::string out;
  JsonWriter writer(out);
  writer.begin_object();
  writer.key("schema");
  writer.text("ctriage.bundle/1");
  writer.member_value("source", source);
  if (tool_digest) writer.member_value("tool_sha256", *tool_digest);
  writer.key("command_line");
  writer.value(options.command_line);
  writer.key("plan");
  writer.begin_array();
  for (const Collector& collector : kCollectors) {
    if (!options.left_out.contains(collector.name)) writer.text(collector.name);
  }
  writer.end_array();
  writer.key("left_out");
  writer.begin_array();
  for (const auto& [name, option] : options.left_out) writer.text(name);
  writer.end_array();
  write_case(writer, options.about);
  writer.key("options");
  writer.begin_object();
  writer.key("compression");
  writer.text(options.compression == Compression::zstd ? "zstd" : "none");
  writer.key("memory");
  writer.text(to_text(options.memory.mode));
  if (options.memory.mode == MemoryMode::automatic) {
    writer.key("memory_each_bytes");
    writer.value(options.memory.each_bytes);
    writer.key("memory_max_bytes");
    writer.value(options.memory.max_bytes);
  }
  if (options.memory.mode != MemoryMode::none) {
    writer.key("file_pages");
    writer.text(to_text(options.memory.file_pages));
    writer.key("freeze");
    writer.text(to_text(options.memory.freeze.mode));
    writer.key("freeze_max_ns");
    writer.value(static_cast<std::uint64_t>(options.memory.freeze.most_ns));
    writer.key("swap");
    writer.text(to_text(options.memory.swap_in));
  }
  writer.key("volume_max_bytes");
  writer.value(options.volume_max_bytes);
  if (options.max_bytes != UINT64_MAX) {
    writer.key("max_bytes");
    writer.value(options.max_bytes);
  }
  writer.end_object();
  writer.key("boottime_ns");
  writer.value(sys::boottime_ns());
  writer.key("uid");
  writer.value(sys::geteuid());
  if (auto capabilities = sys::effective_capabilities()) {
    writer.key("capabilities");
    writer.value(Hex{*capabilities});
  }
  writer.end_object();
  return out + "\n";
}

using Resident = std::map<std::pair<std::int32_t, std::uint64_t>, std::uint64_t>;

// Bytes of each member that is there, by pid and start time.
Resident resident_sizes(source::LiveSnapshot& snapshot) {
  Resident sizes;
  for (const source::LiveContainer& live : snapshot.containers()) {
    for (const auto& [pid, held] : live.processes) {
      const auto there = proc::open_process(snapshot.node().proc, pid, held.start_ticks);
      const auto text =
          there ? there->read_file_in_root("status", kMaxProcTextBytes) : Result<std::string>(there.error());
      Process process;
      if (text && proc::parse_status(*text, process)) sizes[{pid, held.start_ticks}] = process.rss_bytes;
    }
  }
  return sizes;
}

// Of the members that were there before and are now.
std::int64_t growth_of(const Resident& before, const Resident& after) {
  std::int64_t growth = 0;
  for (const auto& [process, bytes] : before) {
    const auto now = after.find(process);
    if (now == after.end()) continue;
    growth += static_cast<std::int64_t>(now->second) - static_cast<std::int64_t>(bytes);
  }
  return growth;
}

// "38 MiB of 3 suspicious processes, 12 ms frozen", "2 MiB of 1 of 2 other processes, 0 ms frozen; 1 NOT
// whole: see the gaps".
std::string memory_text(const MemoryCounts& counts, std::string_view which) {
  if (counts.chosen == 0) return "no " + std::string(which) + " process";
  const std::uint64_t missing = counts.chosen - counts.processes - counts.left_out;
  std::string text = human_size(counts.bytes) + " of ";
  if (missing + counts.left_out > 0) text += with_commas(counts.processes) + " of ";
  text += with_commas(counts.chosen) + " " + std::string(which) +
          (counts.chosen == 1 ? " process" : " processes");
  text += ", " + milliseconds_text(counts.frozen_ns) + " frozen";
  if (missing > 0) text += "; " + with_commas(missing) + " NOT whole: see the gaps";
  if (counts.left_out > 0) text += "; " + with_commas(counts.left_out) + " left out by plan";
  return text;
}

// Collectors that run after each other and are told of together.
using Phase = std::span<const Collector>;

// What was left out has no number.
std::string phase_text(Phase phase, const Counts& counts, const LeftOut& left_out) {
  const std::string_view group = phase.front().group;
  std::string text;
  const auto add = [&](std::string_view collector, std::string words) {
    if (const auto left = left_out.find(collector); left != left_out.end())
      words = std::string(collector) + (left->second == kGone ? " gone" : " left out");
    text += (text.empty() ? "" : ", ") + words;
  };
  if (group == "state") {
    add("processes", counted(counts.processes, "process", "processes"));
    add("sockets", counted(counts.sockets, "socket", "sockets"));
    if (counts.ended > 0)
      text += ", " + counted(counts.ended, "container that has ended", "containers that have ended");
  } else if (group == "files") {
    add("upper", counts.layers_unread > 0 ? "changes unknown: layers not readable"
                                          : counted(counts.changes, "change", "changes"));
    add("programs",
        counted(counts.programs, "program that is not in the image", "programs that are not in the image"));
    if (counts.libraries > 0 || left_out.contains("libraries"))
      add("libraries", counted(counts.libraries, "library", "libraries"));
    add("tmpfs", counted(counts.tmpfs, "tmpfs", "tmpfs"));
  } else if (group == "volumes") {
    add("volumes",
        counted(counts.volumes, "writable volume", "writable volumes") +
            (counts.volumes == 0 ? ""
                                 : ", " + counted(counts.volume_files, "name", "names") + ", " +
                                       with_commas(counts.volume_newer) + " newer than the container"));
  } else if (group == "logs") {
    add("logs", counted(counts.logs, "container log", "container logs"));
  } else if (group == kMemoryGroup) {
    for (const Collector& collector : phase) {
      const bool others = collector.take == take_other_memory;
      add(collector.name, memory_text(others ? counts.other_memory : counts.suspicious_memory,
                                      others ? "other" : "suspicious"));
    }
  } else {
    for (const Collector& collector : phase) add(collector.name, std::string(collector.name));
  }
  return text;
}

// What ends the run is told of every collector that was not reached, later phases' too.
Status run_phase(Collection& in, Phase phase, const Status& so_far) {
  Status going = so_far;
  for (const Collector& collector : phase) {
    const std::string name = std::string(collector.group) + "." + std::string(collector.name);
    if (const auto left = in.options.left_out.find(collector.name); left != in.options.left_out.end()) {
      in.task.gaps.add({Impact::note, name, in.snapshot.name(),
                        left->second == kGone
                            ? Error{Errc::vanished, "nothing of the target runs: there is none any more"}
                            : Error{Errc::unsupported, "left out by plan (" + left->second + ")"}});
      continue;
    }
    if (going) going = in.task.check();
    if (!going) {
      in.task.gaps.add({Impact::lost, name, in.snapshot.name(), Error(going.error()).within("not reached")});
      continue;
    }
    const bool can_wait = in.options.may_take && collector.volatility != Volatility::process &&
                          collector.group != kCollectors.front().group;
    auto taken = can_wait ? in.options.may_take(collector) : Status(Done{});
    if (taken) taken = collector.take(in);
    if (taken) continue;
    in.task.gaps.add({Impact::lost, name, in.snapshot.name(), taken.error()});
    if (ends_the_run(taken.error())) going = std::move(taken);
  }
  return going;
}

// Containers of the target that have ended: looked up now, held, and taken from here on as the others are.
Status take_ended(Collection& in, const Status& so_far, source::HoldCounts& held) {
  std::vector<source::LiveContainer>& containers = in.snapshot.containers();
  const std::size_t before = containers.size();
  in.snapshot.add_ended(in.task);
  if (containers.size() == before) return so_far;
  held = in.snapshot.hold(in.task);
  name_folders(containers);
  if (!so_far) return so_far;
  auto taken = take_ended_state(in, before);
  if (taken) return so_far;
  in.task.gaps.add({Impact::lost, "state.containers", in.snapshot.name(), taken.error()});
  return ends_the_run(taken.error()) ? std::move(taken) : so_far;
}

std::vector<Phase> phases() {
  std::vector<Phase> found;
  const Phase all(kCollectors);
  for (std::size_t first = 0, end = 0; first < all.size(); first = end) {
    end = first + 1;
    while (end < all.size() && all[end].group == all[first].group) ++end;
    found.push_back(all.subspan(first, end - first));
  }
  return found;
}

}  // namespace

std::span<const Collector> collectors() { return kCollectors; }

bool ends_the_run(const Error& error) {
  return error.code == Errc::stopped || error.code == Errc::timeout || error.code == Errc::full;
}

Status Collection::add_finding(Finding&& finding) {
  ++counts.findings;
  if (auto status = write(*findings, finding); !status) return status;
  to_tell.push_back(std::move(finding));
  return Done{};
}

Status Collection::ended_early(bundle::Stream& stream, std::string_view artifact, const std::string& path,
                               const Error& error) {
  task.gaps.add({Impact::lost, std::string(artifact), path, error});
  auto finished = stream.finish(bundle::Outcome::partial, error.what);
  if (ends_the_run(error)) return error;
  return finished;
}

Status Collection::add_file(const std::string& path, Result<std::string> text, std::string_view artifact,
                            std::string source) {
  if (text) return out.add(path, *text, std::move(source));
  task.gaps.add({Impact::lost, std::string(artifact), source, text.error()});
  out.not_collected(path, std::move(source), text.error().what);
  return Done{};
}

bool is_gone(Collection& in, const source::LiveContainer& container, std::string_view name) {
  if (!container.ended) return false;
  in.out.not_collected(in.path_of(container, std::string(name) + ".jsonl"), "procfs",
                       std::string(source::kNoProcesses));
  return true;
}

std::string bundle_name(const std::string& case_id, const Source& source,
                        const source::LiveSnapshot& snapshot) {
  const auto& containers = snapshot.containers();
  std::string target = snapshot.name();
  if (!containers.empty()) {
    const Container& first = containers.front().container;
    target = first.pod ? first.pod->name : first.name.raw;
  }
  return (case_id.empty() ? "" : bundle::member_name(case_id) + "_") + bundle::member_name(source.node.raw) +
         "_" + bundle::member_name(target) + "_" + time_stamp(source.taken_at.value_or(Timestamp{}));
}

Result<std::unique_ptr<bundle::Writer>> create_writer(const Output& output, const std::string& name,
                                                      const bundle::WriterOptions& options, Task& task) {
  if (const auto* directory = std::get_if<const Root*>(&output)) {
    auto writer = bundle::Writer::create(**directory, name, options, task);
    return writer ? std::move(writer)
                  : Result<std::unique_ptr<bundle::Writer>>(
                        std::move(writer).error().within((*directory)->name()));
  }
  return bundle::Writer::stream(std::move(*std::get<UniqueFd*>(output)), name, options, task);
}

Result<Summary> collect(source::LiveSnapshot& snapshot, const Output& output, rules::Engine& engine,
                        const Options& options, Progress& progress, Task& task) {
  const std::int64_t began_ns = sys::boottime_ns();
  Summary summary;
  // First things first: what would be gone with the container is opened before anything is read or written.
  summary.held = snapshot.hold(task);
  summary.hold_ns = summary.held.took_ns;
  progress.held(summary.held, snapshot, task.now());

  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  source->tool = options.tool;
  std::optional<std::string> tool_digest;  // whoever doubts the evidence can ask which program took it
  auto self = snapshot.node().proc.open_magic(std::to_string(snapshot.node().ourselves) + "/exe");
  auto digest =
      self ? source::hash_file(self->get(), "our own program", task) : Result<std::string>(self.error());
  if (digest) {
    tool_digest = *std::move(digest);
  } else {
    task.gaps.add({Impact::degraded, "tool", "our own program", std::move(digest).error()});
  }
  name_folders(snapshot.containers());
  bundle::WriterOptions writing;
  writing.started_at = source->taken_at.value_or(task.now());
  writing.workers = options.workers;
  writing.tool = options.tool;
  writing.max_bytes = options.max_bytes;
  writing.recipients = options.recipients;
  writing.signer = options.signer;
  auto writer = create_writer(
      output, options.name.empty() ? bundle_name(options.about.id, *source, snapshot) : options.name, writing,
      task);
  if (!writer) return std::move(writer).error();
  bundle::Writer& out = **writer;
  if (auto status = out.add("bundle.json", bundle_json(*source, options, tool_digest), "ctriage"); !status) {
    return std::move(status).error();
  }
  auto findings = out.open("findings.jsonl", bundle::Encoding::jsonl, "rules");
  if (!findings) return std::move(findings).error();
  auto gaps = out.open("gaps.jsonl", bundle::Encoding::jsonl, "ctriage");
  if (!gaps) return std::move(gaps).error();

  // From here every gap reaches the disk with the phase it belongs to, and the caller's log as before.
  bundle::Stream& gap_stream = **gaps;
  bool gaps_lost = false;
  GapLog log([&](const Gap& gap) {
    const GapRecord record{gap.impact,     gap.artifact,          Bytes(gap.origin),
                           gap.error.code, Bytes(gap.error.what), task.now()};
    if (!gap_stream.write_line(to_json(record))) gaps_lost = true;
    progress.gap(gap);
  });
  log.merge(std::move(task.gaps));
  Task working = task.with(log);

  Collection in(snapshot, out, engine, options, progress, working);
  in.findings = *std::move(findings);
  (void)out.record("hold", {{"target", snapshot.name()},
                            {"files", std::uint64_t{summary.held.files}},
                            {"programs", std::uint64_t{summary.held.programs}},
                            {"took_ns", static_cast<std::uint64_t>(summary.hold_ns)},
                            {"frozen_ns", std::uint64_t{0}}});
  const auto resident = resident_sizes(snapshot);

  unsigned number = 0;
  Status going = Done{};
  bool ended_taken = false;
  for (const Phase phase : phases()) {
    const std::string_view group = phase.front().group;
    const std::int64_t phase_ns = sys::boottime_ns();
    going = run_phase(in, phase, going);
    // With the state, after what may vanish.
    if (!std::exchange(ended_taken, true)) going = take_ended(in, going, summary.held);
    auto mark = out.end_phase(group);
    // What ended the run before is told with the collectors that were not reached.
    if (!mark && (going || !ends_the_run(mark.error())))
      log.add({Impact::lost, "bundle", std::string(group), mark.error()});
    if (group == "state") summary.state_ns = sys::boottime_ns() - began_ns;
    PhaseEnd ended{++number,
                   std::string(group),
                   sys::boottime_ns() - phase_ns,
                   phase_text(phase, in.counts, options.left_out),
                   {}};
    if (mark && group == "state") ended.digest = mark->digest;
    progress.phase_ended(ended);
    for (const Finding& finding : in.to_tell) progress.found(finding);
    in.to_tell.clear();
  }

  if (auto attached = take_attachments(in); !attached)
    log.add({Impact::lost, "attach", "files of the examiner", attached.error()});
  summary.resident_growth_bytes = growth_of(resident, resident_sizes(snapshot));
  summary.counts = in.counts;
  summary.memory_left_out = std::move(in.memory.left_out);
  snapshot.tell_access_times(working);
  log.finish();
  summary.lost = log.count(Impact::lost);
  summary.degraded = log.count(Impact::degraded);
  summary.notes = log.count(Impact::note);
  summary.took_ns = sys::boottime_ns() - began_ns;
  summary.cpu_ns = sys::cpu_time_ns();
  const auto summarized = out.add(std::string(bundle::kSummary), progress.summary_text(summary), "ctriage");
  if (auto status = in.findings->finish(bundle::Outcome::collected, ""); !status) gaps_lost = true;
  if (auto status = gap_stream.finish(gaps_lost ? bundle::Outcome::partial : bundle::Outcome::collected,
                                      gaps_lost ? "some gaps could not be written" : "");
      !status) {
    gaps_lost = true;
  }
  // gaps.jsonl is closed: the screen and the status are what is left to say it.
  const auto tell_late = [&](std::string_view member, std::string why) {
    ++summary.lost;
    progress.gap({Impact::lost, "bundle", std::string(member), Error{Errc::io, std::move(why)}});
  };
  if (!summarized) tell_late(bundle::kSummary, summarized.error().what);
  if (gaps_lost) tell_late("gaps.jsonl", "some gaps or findings could not be written");
  auto sealed = out.seal();
  if (!sealed) {
    ++summary.lost;
    summary.not_sealed = sealed.error().what;
    summary.path = out.part_name();
    summary.size_bytes = out.size_bytes();
    return summary;
  }
  if (!sealed->late_why.empty()) tell_late("ending", sealed->late_why);
  if (!sealed->custody_why.empty()) tell_late("custody.jsonl", sealed->custody_why);
  if (!sealed->unsigned_why.empty()) {
    tell_late("manifest.json.sig", "NOT SIGNED: " + sealed->unsigned_why);
  } else if (options.signer) {
    summary.signed_by = options.signer->fingerprint();
  }
  summary.path = sealed->path;
  summary.size_bytes = sealed->size_bytes;
  summary.manifest_digest = sealed->manifest_digest;
  return summary;
}

}  // namespace ctriage::collect
