#include "lib/report/show.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxFindingsShown = 10;

bool has(const Snapshot& snapshot, Facet facet) {
  return snapshot.covers(facet).level != Coverage::Level::none;
}

std::string source_lines(const Source& source) {
  std::string first = safe(source.target.raw);
  if (!source.node.empty()) first += " on " + safe(source.node.raw);
  if (source.taken_at) first += ", taken " + date_seconds(*source.taken_at);
  if (!source.tool.empty()) first += " by " + safe(source.tool);
  std::vector<std::string> node;
  if (!source.os.empty()) node.push_back(safe(source.os.raw));
  if (!source.kernel.empty()) node.push_back("Linux " + safe(source.kernel.raw));
  if (!source.machine.empty()) node.push_back(safe(source.machine));
  if (source.booted_at) node.push_back("booted " + date_seconds(*source.booted_at));
  std::string out = labelled(source.kind.empty() ? "source" : safe(source.kind), first);
  if (!node.empty()) out += labelled("node", join(node, ", "));
  return out;
}

std::string container_lines(const Container& container, const Style& style) {
  std::string first =
      safe(container_name(container)) + "  " + short_id(container.id) + "  " +
      (container.image.empty() ? std::string("no image recorded") : safe(container.image.raw));
  first += "  " + std::string(to_text(container.state));
  if (container.started_at) first += " since " + date_seconds(*container.started_at);
  if (container.attempt > 0) first += ", " + counted(container.attempt, "restart", "restarts");
  std::string out = labelled("container", first);

  std::vector<std::string> arguments;
  std::size_t room = 512;
  for (const Bytes& argument : container.args) {
    const std::string_view part = argument.view().substr(0, room);
    arguments.push_back(safe_quoted(part));
    room -= part.size();
    if (room == 0) break;
  }
  if (!container.args.empty())
    out += labelled("command", '[' + fit(join(arguments, ", "), 2 * style.width) + ']');

  // An image says who, and nothing of what the engine would add.
  if (container.engine == "none" && container.init_pid == 0)
    return out + labelled("runs as", "user " + user_text(container.uid) + ", as the image says");
  std::string rights = "user " + user_text(container.uid) + "  " +
                       counted(container.capabilities.size(), "capability", "capabilities");
  rights += container.seccomp ? "  seccomp filter" : "  seccomp off";
  rights += container.no_new_privs ? "  no-new-privs on" : "  no-new-privs off";
  if (container.read_only_root) rights += "  read-only root";
  if (!container.rights.empty()) {
    std::vector<std::string> named;
    for (const std::string& right : container.rights) named.push_back(safe(right));
    rights += "  POWERFUL: " + join(named, ",");
  }
  return out + labelled("runs as", rights);
}

std::string note_of(const Coverage& coverage) {
  const bool noted = coverage.level == Coverage::Level::whole && !coverage.why.empty();
  return noted ? "   (" + safe(coverage.why) + ")" : std::string();
}

Status container_overview(Snapshot& snapshot, const Container& container, const Style& style, const Out& out,
                          Task& task) {
  std::string text = container_lines(container, style);

  SocketSummary sockets;
  if (has(snapshot, Facet::sockets)) {
    auto done = snapshot.list_sockets(
        container.id,
        [&sockets](Socket&& socket) {
          sockets.add(socket);
          return Status(Done{});
        },
        task);
    if (!done) return done;
  }
  if (has(snapshot, Facet::processes)) {
    Tree tree;
    auto done = snapshot.list_processes(
        container.id,
        [&](Process&& process) {
          tree.add(process);
          if (process.membership == Membership::init)
            text += difference_line(against_spec(container, process));
          return Status(Done{});
        },
        task);
    if (!done) return done;
    for (TreeProcess& process : tree.processes) {
      const auto found = sockets.remarks_by_pid.find(process.pid);
      if (found == sockets.remarks_by_pid.end()) continue;
      process.remarks.insert(process.remarks.begin(), found->second.begin(), found->second.end());
    }
    text += labelled("processes",
                     fmt::format("{}, {}, {} of memory", with_commas(tree.total),
                                 counted(tree.threads, "thread", "threads"), human_size(tree.memory_bytes)) +
                         note_of(snapshot.covers(Facet::processes)));
    if (tree.total > 0) text += tree_text(tree, style);
  }
  if (has(snapshot, Facet::sockets)) text += labelled("sockets", sockets.text());
  if (has(snapshot, Facet::changes)) {
    ChangeTally changes;
    auto done = snapshot.list_changes(
        container.id,
        [&changes](FileChange&& change) {
          changes.add(change.kind);
          return Status(Done{});
        },
        task);
    if (!done) return done;
    text += labelled("files", changes.text());
  }
  return out(text);
}

}  // namespace

std::string finding_line(const Finding& finding, const Style& style) {
  const std::string id = pad_right(safe(finding.id), 3);
  const std::string severity =
      painted(finding.severity, pad_right(severity_word(finding.severity), 4), style);
  const std::string when = finding.at ? clock_seconds(*finding.at) : std::string("-");
  return fmt::format("   {} {}  {:<9}  {}\n", id, severity, when, safe(finding.what.raw));
}

Result<GapTally> gaps_of(Snapshot& snapshot, Task& task) {
  GapTally tally;
  if (has(snapshot, Facet::gaps)) {
    auto done = snapshot.list_gaps(
        [&tally](GapRecord&& gap) {
          tally.add(gap);
          return Status(Done{});
        },
        task);
    if (!done) return std::move(done).error();
  }
  tally.add(task.gaps);
  return tally;
}

Result<FindingTally> judge(Snapshot& snapshot, bool asked, Task& task) {
  FindingTally tally;
  if (!asked || !has(snapshot, Facet::findings)) return tally;
  auto done = snapshot.list_findings(
      [&tally](Finding&& finding) {
        tally.add(finding.severity);
        return Status(Done{});
      },
      task);
  if (!done) return std::move(done).error();
  return tally;
}

std::string coverage_text(const Snapshot& snapshot, const GapTally& gaps, bool every_gap,
                          const Style& style) {
  std::string out = "how complete is this\n";
  for (const auto& [what, coverage] : snapshot.completeness()) {
    const std::string_view word = coverage.level == Coverage::Level::whole  ? "yes"
                                  : coverage.level == Coverage::Level::part ? "PARTLY"
                                                                            : "no";
    std::string line = fmt::format("   {:<15} {:<7} {}", safe(what), word, safe(coverage.why));
    while (line.back() == ' ') line.pop_back();
    out += line + '\n';
  }
  const Coverage kept = snapshot.covers(Facet::gaps);
  const bool unrecorded = kept.level == Coverage::Level::none;
  out += labelled(
      "gaps", gaps.text() +
                  (unrecorded ? " while reading it" + (kept.why.empty() ? "" : "; " + safe(kept.why)) : ""));
  return out + gap_lines(gaps, every_gap, style);
}

Status show_overview(Snapshot& snapshot, const ShowOptions& options, const Style& style, const Out& out,
                     Task& task, Outcome& outcome) {
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  if (auto done = out(source_lines(*source)); !done) return done;
  auto listed = snapshot.list_containers(
      [&](Container&& container) { return container_overview(snapshot, container, style, out, task); }, task);
  if (!listed) return listed;

  const std::string again = "ctriage show " + shell_word(options.source);
  std::string findings;
  std::vector<std::pair<std::string, std::string>> hints;
  const Coverage judged = snapshot.covers(Facet::findings);
  if (judged.level == Coverage::Level::none) {
    findings = labelled("findings", "not evaluated" + (judged.why.empty() ? "" : ": " + safe(judged.why)));
  } else {
    FindingTally tally;
    auto done = snapshot.list_findings(
        [&](Finding&& finding) {
          tally.add(finding.severity);
          if (tally.total() <= kMaxFindingsShown) findings += finding_line(finding, style);
          if (tally.total() == 1) {
            hints.emplace_back(again + ' ' + shell_word(finding.id), "everything around " + finding.id);
          }
          return Status(Done{});
        },
        task);
    if (!done) return done;
    outcome.worst = tally.worst();
    findings.insert(0, labelled("findings", tally.text()));
    if (tally.total() > kMaxFindingsShown) {
      findings += fmt::format("   ... {} more: --json\n", with_commas(tally.total() - kMaxFindingsShown));
    }
  }

  auto gaps = gaps_of(snapshot, task);
  if (!gaps) return std::move(gaps).error();
  outcome.lost = gaps->count(Impact::lost);
  std::string text = coverage_text(snapshot, *gaps, options.every_gap, style) + findings;
  if (!options.source.empty()) {
    if (snapshot.covers(Facet::changes).level != Coverage::Level::none)
      hints.emplace_back("ctriage diff " + shell_word(options.source), "file changes against the image");
    if (source->kind == "checkpoint")
      hints.emplace_back("ctriage extract " + shell_word(options.source) + " -o out",
                         "deleted files, memfd, tmpfs, queues, changed files");
    hints.emplace_back(again + " --all", "every section");
    text += next_lines("next", hints, style);
  }
  return out(text);
}

Result<Outcome> show_text(Snapshot& snapshot, const ShowOptions& options, const Style& style, const Out& out,
                          Task& task) {
  Outcome outcome;
  if (options.overview()) {
    auto done = show_overview(snapshot, options, style, out, task, outcome);
    if (!done) return std::move(done).error();
    return outcome;
  }
  bool pid_seen = false;
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        if (!options.container.empty() && container.id != options.container) return Done{};
        if (options.pid) {
          bool here = false;
          auto done = snapshot.list_processes(
              container.id,
              [&](Process&& process) {
                here = here || process.pid == *options.pid;
                return Status(Done{});
              },
              task);
          if (!done || !here) return done;
          pid_seen = true;
        }
        auto headed =
            out(labelled("container", safe(container_name(container)) + "  " + short_id(container.id)));
        if (!headed) return headed;
        return show_sections(snapshot, container, options, style, out, task);
      },
      task);
  if (!listed) return std::move(listed).error();
  if (options.pid && !pid_seen) {
    return Error{Errc::not_found, fmt::format("no process here has pid {}", *options.pid)};
  }
  auto findings = judge(snapshot, options.judge, task);
  if (!findings) return std::move(findings).error();
  outcome.worst = findings->worst();
  auto gaps = gaps_of(snapshot, task);
  if (!gaps) return std::move(gaps).error();
  outcome.lost = gaps->count(Impact::lost);
  std::string text = "\n";
  if (options.judge) text += labelled("findings", findings->text());
  if (auto done = out(text + gaps_block(*gaps, options.every_gap, style)); !done)
    return std::move(done).error();
  return outcome;
}

}  // namespace ctriage::report
