#include "lib/report/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kIdColumns = 4;
constexpr std::size_t kSeverityColumns = 5;
constexpr std::size_t kWhenColumns = 10;
constexpr std::size_t kProofColumns = 25;
constexpr std::size_t kWide = 120;  // below it PROOF goes
constexpr std::size_t kIndent = kIdColumns + kSeverityColumns + kWhenColumns;
constexpr std::size_t kMaxParents = 4;
constexpr std::size_t kMaxPeers = 3;
constexpr std::size_t kMaxAlike = 3;

struct Person {  // what a second line needs of a process
  std::int32_t ppid = 0;
  std::string name;  // safe
  std::optional<std::string> sha256;
  std::vector<std::string> peers;  // safe
};
using People = std::map<std::int32_t, Person>;  // of one container

std::string called(const Process& process) {
  std::string text = safe(process.exe.path.raw.substr(process.exe.path.raw.rfind('/') + 1)) + ' ' +
                     std::to_string(process.pid);
  if (process.membership == Membership::executed_in) text += " (exec from outside)";
  if (process.membership == Membership::entered) text += " (entered)";
  return text;
}

Result<People> read_people(Snapshot& snapshot, const Container& container, Task& task) {
  People people;
  GapLog aside;  // told when the findings were made
  Task again = task.with(aside);
  if (snapshot.covers(Facet::processes).level != Coverage::Level::none) {
    auto listed = snapshot.list_processes(
        container.id,
        [&](Process&& process) {
          if (people.size() < kMaxTreeProcesses)
            people[process.pid] = {process.ppid, called(process), process.exe.sha256, {}};
          return Status(Done{});
        },
        again);
    if (!listed) return std::move(listed).error();
  }
  if (!people.empty() && snapshot.covers(Facet::sockets).level != Coverage::Level::none) {
    auto listed = snapshot.list_sockets(
        container.id,
        [&](Socket&& socket) {
          const bool inet = socket.family.starts_with("tcp") || socket.family.starts_with("udp");
          const bool listens = socket.state == "LISTEN";
          if (!inet || (!listens && socket.state != "ESTABLISHED")) return Status(Done{});
          for (const std::int32_t pid : socket.pids) {
            const auto at = people.find(pid);
            if (at == people.end() || at->second.peers.size() > kMaxPeers) continue;
            at->second.peers.push_back(at->second.peers.size() == kMaxPeers ? std::string("...")
                                       : listens ? "LISTEN " + safe(socket.local.raw)
                                                 : socket.family + " > " + safe(socket.remote.raw));
          }
          return Status(Done{});
        },
        again);
    if (!listed) return std::move(listed).error();
  }
  return people;
}

// "sh 48102 (exec from outside) > kworkerd 48213; tcp > 203.0.113.214:443".
std::string around(const People& people, std::int32_t pid) {
  const auto self = people.find(pid);
  if (self == people.end()) return {};
  std::string line = self->second.name;
  auto at = people.find(self->second.ppid);
  std::size_t parents = 0;
  for (; at != people.end() && parents < kMaxParents; ++parents) {
    line.insert(0, at->second.name + " > ");
    if (at->second.ppid == at->first) break;
    at = people.find(at->second.ppid);
  }
  if (parents == 0 && self->second.peers.empty()) return {};  // its name is in the line above
  if (!self->second.peers.empty()) line += "; " + join(self->second.peers, ", ");
  return line;
}

std::string proof_of(const Finding& finding, const People& people) {
  std::string proof = safe(finding.rule);
  if (finding.artifact != "process" || !finding.pid) return proof;
  const auto at = people.find(*finding.pid);
  if (at != people.end() && at->second.sha256) proof += ' ' + safe(at->second.sha256->substr(0, 12));
  return proof;
}

std::string finding_text(const Finding& finding, const People& people, const Style& style) {
  const std::string what = safe(finding.what.raw);
  std::string when = finding.at ? clock_seconds(*finding.at) : "-";
  std::string line =
      pad_right(safe(finding.id), kIdColumns) +
      painted(finding.severity, pad_right(severity_word(finding.severity), kSeverityColumns), style) +
      pad_right(std::move(when), kWhenColumns);
  const std::string proof = proof_of(finding, people);
  std::string rest;
  if (style.width != 0 && style.width < kWide) {
    line += what;
  } else if (const std::size_t room = std::max<std::size_t>(style.width, kWide) - kIndent - kProofColumns - 1;
             display_width(what) <= room) {
    line += pad_right(what, room) + ' ' + proof;
  } else {
    line += what;
    rest = std::string(kIndent + 2, ' ') + proof + '\n';
  }
  line += '\n' + rest;
  if (finding.pid) {
    if (const std::string more = around(people, *finding.pid); !more.empty())
      line += std::string(kIndent + 2, ' ') + more + '\n';
  }
  return line;
}

// Who else runs the same bytes, wherever in this source.
using Alike =
    std::map<std::string, std::vector<std::pair<std::string, std::int32_t>>>;  // sha256 -> where, pid

std::string alike_text(const Finding& finding, const People& people, const Alike& alike) {
  if (finding.artifact != "process" || !finding.pid) return {};
  const auto self = people.find(*finding.pid);
  if (self == people.end() || !self->second.sha256) return {};
  const auto others = alike.find(*self->second.sha256);
  if (others == alike.end() || others->second.size() < 2) return {};
  std::vector<std::string> named;
  for (const auto& [where, pid] : others->second) {
    if (pid != *finding.pid && named.size() < kMaxAlike)
      named.push_back(fmt::format("{} pid {}", where, pid));
  }
  return named.empty() ? std::string()
                       : std::string(kIndent + 2, ' ') + "the same bytes run in " + join(named, ", ") + '\n';
}

std::string head(const Source& source, const Container& container) {
  std::string line = safe(container_name(container)) + "   " + source.kind;
  if (source.taken_at) line += ' ' + clock_seconds(*source.taken_at);
  if (!container.image.empty()) line += "   image " + safe(container.image.raw);
  if (!container.image_digest.empty()) line += '@' + safe(container.image_digest.raw.substr(0, 19));
  return line + '\n';
}

std::string not_covered(const Snapshot& snapshot) {
  std::string text;
  for (const Facet facet :
       {Facet::processes, Facet::mappings, Facet::sockets, Facet::mounts, Facet::changes}) {
    const Coverage coverage = snapshot.covers(facet);
    if (coverage.level == Coverage::Level::whole) continue;
    text += fmt::format(
        "-- {}: {}{}\n", to_text(facet),
        coverage.level == Coverage::Level::none ? "not in this source, not judged" : "only a part is here",
        coverage.why.empty() ? std::string() : ": " + safe(coverage.why));
  }
  return text;
}

std::string counts_text(const DriftFacts& facts, const FindingTally& tally, const DriftOptions& options) {
  std::vector<std::string> reasons;
  for (const ExplainedChanges& each : facts.reasons)
    reasons.push_back(safe(each.reason) + ' ' + with_commas(each.changes));
  std::string text = "-- " + tally.text() + ".  ";
  if (facts.counts.changes == 0) {
    text += "File changes: none judged";
  } else {
    text += fmt::format("{}: {} named, {} explained",
                        counted(facts.counts.changes, "file change", "file changes"),
                        with_commas(facts.counts.named), with_commas(facts.counts.explained));
    if (!reasons.empty()) text += " (" + join(reasons, ", ") + ')';
    text += fmt::format(", {} other data", with_commas(facts.counts.other));
    if (facts.counts.explained > 0 && !options.explained) text += "; list: --explained";
  }
  text += '\n';
  for (const KeptBack& each : facts.kept_back) {
    text += fmt::format("-- {} kept back: {}{}{}\n", counted(each.findings, "finding", "findings"),
                        each.rule.empty() ? std::string() : safe(each.rule) + ", ", safe(each.reason),
                        each.until.empty() ? std::string() : ", until " + safe(each.until));
    if (each.expired) text.replace(text.rfind("kept back: "), 9, "no longer kept back");
  }
  if (facts.beyond > 0)
    text += fmt::format("-- {} more findings are not shown: too many\n", with_commas(facts.beyond));
  return text;
}

}  // namespace

Result<Outcome> drift_text(Snapshot& snapshot, const DriftFacts& facts, const DriftOptions& options,
                           const Style& style, const Out& out, Task& task) {
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  FindingTally tally;
  for (const Finding& finding : facts.findings) tally.add(finding.severity);

  std::vector<Container> containers;
  auto listed = snapshot.list_containers(
      [&](Container&& container) {
        containers.push_back(std::move(container));
        return Status(Done{});
      },
      task);
  if (!listed) return std::move(listed).error();
  std::map<std::string, People> people;
  Alike alike;
  std::string text;
  for (const Container& container : containers) {
    text += head(*source, container);
    auto read = read_people(snapshot, container, task);
    if (!read) return std::move(read).error();
    for (const auto& [pid, person] : *read) {
      if (person.sha256) alike[*person.sha256].emplace_back(safe(container_name(container)), pid);
    }
    people[container.id] = *std::move(read);
  }
  std::vector<const Finding*> worst_first;
  for (const Finding& finding : facts.findings) worst_first.push_back(&finding);
  std::ranges::stable_sort(worst_first, std::greater(), &Finding::severity);
  if (!worst_first.empty()) {
    text +=
        pad_right("ID", kIdColumns) + pad_right("SEV", kSeverityColumns) + pad_right("WHEN", kWhenColumns);
    text += style.width != 0 && style.width < kWide
                ? "WHAT\n"
                : pad_right("WHAT", std::max<std::size_t>(style.width, kWide) - kIndent - kProofColumns) +
                      "PROOF\n";
  }
  if (auto done = out(text); !done) return std::move(done).error();
  static const People kNobody;
  for (const Finding* finding : worst_first) {
    const auto at = people.find(finding->container);
    const People& theirs = at == people.end() ? kNobody : at->second;
    if (auto done = out(finding_text(*finding, theirs, style) + alike_text(*finding, theirs, alike)); !done)
      return std::move(done).error();
  }
  if (options.explained) {
    for (const ExplainedChange& change : facts.explained) {
      if (auto done = out("explained  " + safe(change.path.raw) + "  " + safe(change.reason) + '\n'); !done)
        return std::move(done).error();
    }
  }
  auto gaps = gaps_of(snapshot, task);
  if (!gaps) return std::move(gaps).error();
  if (!options.quiet) {
    text = counts_text(facts, tally, options) + not_covered(snapshot) + "-- gaps: " + gaps->text() + '\n' +
           gap_lines(*gaps, options.every_gap, style) +
           fmt::format("-- rules: {}\n", counted(options.rules, "rule", "rules"));
    if (!worst_first.empty() && !options.source.empty()) {
      const std::string word = shell_word(options.source);
      text += next_lines("next",
                         {{fmt::format("ctriage show {} {}", word, worst_first.front()->id),
                           "everything around " + safe(worst_first.front()->id)},
                          {fmt::format("ctriage diff {}", word), "all file changes"}},
                         style);
    }
    if (auto done = out(text); !done) return std::move(done).error();
  }
  return Outcome{tally.worst(), gaps->count(Impact::lost)};
}

Result<Outcome> drift_json(Snapshot& snapshot, const DriftFacts& facts, const DriftOptions& options,
                           Format format, const Out& out, Task& task) {
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  FindingTally tally;
  Document document(format, out);
  document.begin("ctriage.drift/1");
  const auto list = [&document]<class T>(std::string_view name, const std::vector<T>& items) {
    return document.many<T>(name, [&items](const auto& take) -> Status {
      for (const T& item : items) {
        if (auto done = take(item); !done) return done;
      }
      return Done{};
    });
  };
  std::vector<Finding> findings;
  for (const Finding& finding : facts.findings) {
    tally.add(finding.severity);
    findings.push_back(with_source(finding, options.source));
  }
  if (auto done = document.one("source", *source); !done) return std::move(done).error();
  if (auto done = list("findings", findings); !done) return std::move(done).error();
  if (auto done = document.one("changes", facts.counts); !done) return std::move(done).error();
  if (auto done = list("explained", facts.reasons); !done) return std::move(done).error();
  if (auto done = list("kept_back", facts.kept_back); !done) return std::move(done).error();
  if (options.explained) {
    if (auto done = list("explained_changes", facts.explained); !done) return std::move(done).error();
  }
  std::vector<CoverageRecord> coverage;
  for (std::size_t i = 0; i < enum_names(Facet{}).size(); ++i) {
    const Coverage known = snapshot.covers(static_cast<Facet>(i));
    coverage.push_back({static_cast<Facet>(i), known.level, Bytes(known.why)});
  }
  if (auto done = list("coverage", coverage); !done) return std::move(done).error();
  Outcome outcome{tally.worst(), 0};
  std::vector<GapRecord> gaps;
  if (snapshot.covers(Facet::gaps).level != Coverage::Level::none) {
    auto recorded = snapshot.list_gaps(
        [&](GapRecord&& gap) {
          gaps.push_back(std::move(gap));
          return Status(Done{});
        },
        task);
    if (!recorded) return std::move(recorded).error();
  }
  for (GapRecord& gap : records_of(task.gaps.kept(), task.now())) gaps.push_back(std::move(gap));
  outcome.lost = static_cast<std::uint64_t>(std::ranges::count(gaps, Impact::lost, &GapRecord::impact));
  if (auto done = list("gaps", gaps); !done) return std::move(done).error();
  if (auto done = document.end(); !done) return std::move(done).error();
  return outcome;
}

}  // namespace ctriage::report
