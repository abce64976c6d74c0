#include "cmd/collect_told.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "lib/core/text.h"

namespace ctriage {
namespace {

// Before anything is read nobody knows which processes are suspicious: one figure for the whole group.
std::string memory_text(const std::vector<collect::PlanLine>& plan) {
  std::optional<std::uint64_t> bytes;
  for (const collect::PlanLine& line : plan) {
    if (line.collector->group == collect::kMemoryGroup && line.bytes) bytes = bytes.value_or(0) + *line.bytes;
  }
  return "memory" + (bytes ? " up to " + human_size(*bytes) : std::string());
}

// "state, memory up to 412 MiB, upper 214 MiB, logs 38 MiB; about 2 s; no freeze over 250 ms": groups as a
// whole, and what has a size.
std::string takes_text(const std::vector<collect::PlanLine>& plan, const source::FreezeChoice& freeze) {
  std::string text;
  std::string_view group;
  bool with_memory = false;
  for (const collect::PlanLine& line : plan) {
    if (!line.left_out.empty()) continue;
    if (line.collector->group == collect::kMemoryGroup) {
      if (!std::exchange(with_memory, true)) text += (text.empty() ? "" : ", ") + memory_text(plan);
      continue;
    }
    const std::string_view name = line.bytes ? line.collector->name : line.collector->group;
    if (!line.bytes && group == line.collector->group) continue;
    if (!line.bytes) group = line.collector->group;
    text += (text.empty() ? "" : ", ") + std::string(name);
    if (line.bytes) text += " " + human_size(*line.bytes);
  }
  text += "; about " + std::to_string(seconds_of(plan)) + " s or more; ";
  if (!with_memory || freeze.mode == memory::FreezeMode::none) return text + "no freeze";
  const bool is_short = freeze.mode == memory::FreezeMode::automatic;
  return text + "no freeze over " + milliseconds_text(is_short ? memory::kShortFreezeNs : freeze.most_ns);
}

bool knows_changes(const collect::Summary& summary, const collect::LeftOut& left_out) {
  return summary.counts.layers_unread == 0 && !left_out.contains("upper");
}

// ", up 3h12m": of the container that runs longest, by the clock ticks of its first process.
std::string up_text(const source::LiveSnapshot& snapshot, const Source& source) {
  std::int64_t longest = -1;
  for (const source::LiveContainer& live : snapshot.containers()) {
    if (live.ended || !source.booted_at || !source.taken_at || source.ticks_per_second == 0 ||
        live.container.sandbox)
      continue;
    const auto since_boot =
        static_cast<std::int64_t>(live.container.init_start_ticks / source.ticks_per_second);
    longest = std::max(longest, source.taken_at->seconds - source.booted_at->seconds - since_boot);
  }
  return longest < 0 ? "" : ", up " + human_duration(longest);
}

}  // namespace

void ToScreen::held(const source::HoldCounts& counts, const source::LiveSnapshot& snapshot, Timestamp at) {
  screen_.line("takes", takes_text(collect::plan_of(snapshot, left_out_, memory_), memory_.freeze));
  screen_.line("writes", writes_);
  screen_.held(counts.files, counts.programs, counts.tmpfs, counts.complete, at);
}

void ToScreen::phase_ended(const collect::PhaseEnd& phase) {
  screen_.phase_ended(phase.number, phase.name, phase.took_ns, phase.text,
                      phase.digest ? to_hex(*phase.digest) : "");
}

void ToScreen::gap(const Gap& gap) {
  screen_.gap(gap);
  gaps_.push_back(gap);  // collect's log bounds them
}

std::string ToScreen::summary_text(const collect::Summary& summary) {
  return screen_.summary_text(summary.took_ns, knows_changes(summary, left_out_));
}

std::uint64_t seconds_of(const std::vector<collect::PlanLine>& plan) {
  return static_cast<std::uint64_t>(std::ceil(collect::estimated_seconds(plan)));
}

std::string target_text(const source::LiveSnapshot& snapshot, const Source& source) {
  std::uint64_t processes = 0;
  std::uint64_t containers = 0;
  std::uint64_t ended = 0;
  for (const source::LiveContainer& live : snapshot.containers()) {
    processes += live.processes.size();
    ended += live.ended;
    if (!live.container.sandbox) ++containers;
  }
  return snapshot.name() + " on " + source.node.raw + ": " + counted(containers, "container", "containers") +
         (ended > 0 ? ", " + with_commas(ended) + " of them ended" : "") + ", " +
         counted(processes, "process", "processes") + up_text(snapshot, source);
}

CollectResult result_of(const std::string& path, const collect::Summary& summary,
                        const collect::LeftOut& left_out, Exit exit) {
  CollectResult result;
  result.path = Bytes(path);
  if (summary.not_sealed.empty()) {
    result.manifest_sha256 = to_hex(summary.manifest_digest);
  } else {
    result.not_sealed = Bytes(summary.not_sealed);
  }
  if (!summary.signed_by.empty()) result.signed_by = summary.signed_by;
  result.size_bytes = summary.size_bytes;
  result.complete = exit == Exit::complete || (exit == Exit::findings && summary.lost == 0);
  result.exit_status = static_cast<std::int32_t>(exit);
  CollectCounts& counts = result.counts;
  counts.containers = summary.counts.containers;
  const auto taken = [&](std::string_view collector, std::uint64_t count) {
    return left_out.contains(collector) ? std::nullopt : std::optional(count);
  };
  counts.processes = taken("processes", summary.counts.processes);
  counts.sockets = taken("sockets", summary.counts.sockets);
  if (knows_changes(summary, left_out)) counts.changes = summary.counts.changes;
  counts.programs = taken("programs", summary.counts.programs);
  counts.libraries = taken("libraries", summary.counts.libraries);
  counts.volumes = taken("volumes", summary.counts.volumes);
  counts.logs = taken("logs", summary.counts.logs);
  const collect::MemoryCounts& suspicious = summary.counts.suspicious_memory;
  const collect::MemoryCounts& others = summary.counts.other_memory;
  if (!left_out.contains("suspicious_memory") || !left_out.contains("other_memory")) {
    counts.memory_processes = suspicious.processes + others.processes;
    counts.memory_bytes = suspicious.bytes + others.bytes;
    counts.memory_left_out = suspicious.left_out + others.left_out;
  }
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
  result.frozen_ns = suspicious.frozen_ns + others.frozen_ns;
  return result;
}

std::vector<std::string> left_out_lines(const collect::LeftOut& left_out, const collect::Summary& summary) {
  std::map<std::string, std::string> by_option;
  for (const auto& [name, option] : left_out) {
    std::string& names = by_option[option];
    names += (names.empty() ? "" : ", ") + name;
  }
  std::vector<std::string> lines;
  for (const auto& [option, names] : by_option) {
    lines.push_back(option == collect::kGone ? "nothing runs any more, so none: " + names
                                             : "by plan: " + names + " (" + option + ")");
  }
  for (const std::string& process : summary.memory_left_out) lines.push_back("memory of " + process);
  const std::uint64_t all = summary.counts.suspicious_memory.left_out + summary.counts.other_memory.left_out;
  if (all > summary.memory_left_out.size())
    lines.push_back("memory of " + with_commas(all - summary.memory_left_out.size()) +
                    " more processes: gaps.jsonl");
  return lines;
}

void add_keep_lines(const source::LiveSnapshot& snapshot, const Source& source, const std::string& case_id,
                    report::Closing& closing) {
  const auto& containers = snapshot.containers();
  if (containers.empty() || !containers.front().container.pod) return;
  const PodRef& pod = *containers.front().container.pod;
  closing.keep = {{"keep pod", "kubectl -n " + shell_word(pod.ns) + " label --overwrite pod " +
                                   shell_word(pod.name) + " quarantine=" +
                                   shell_word(case_id.empty() ? "yes" : case_id) + " pod-template-hash-"},
                  {"keep node", "kubectl annotate --overwrite node " + shell_word(source.node.raw) +
                                    " karpenter.sh/do-not-disrupt=true"}};
}

report::Closing closing_of(const CollectResult& result, const collect::Summary& summary,
                           const report::CollectScreen& screen, bool piped) {
  report::Closing closing;
  closing.took_ns = summary.took_ns;
  closing.exit_status = result.exit_status;
  closing.changes_taken = result.counts.changes.has_value();
  closing.touched = report::touched_text(result, screen.link_times_kept());
  closing.bundle = result.path;
  closing.bundle_bytes = summary.size_bytes;
  closing.partial = !summary.not_sealed.empty();
  if (result.manifest_sha256) closing.sha256 = *result.manifest_sha256;
  closing.recipients = result.encrypted_to.size();
  closing.signed_by = summary.signed_by;
  const std::string word = shell_word(result.path.raw);
  if (!piped && closing.recipients > 0)
    closing.next = {{"ctriage verify --identity KEYFILE " + word, "check every byte, where the key is"}};
  else if (!piped)
    closing.next = {{"ctriage show " + word, "what was seen"},
                    {"ctriage verify " + word, "check every byte"}};
  return closing;
}

}  // namespace ctriage
