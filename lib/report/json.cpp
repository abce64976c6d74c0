// `show` and `diff` as JSON.
#include "lib/model/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lib/model/kinds.h"
#include "lib/report/diff.h"
#include "lib/report/diff_internal.h"
#include "lib/report/document.h"
#include "lib/report/show_internal.h"

namespace ctriage::report {
namespace {

Status append_coverage(Document& document, const Snapshot& snapshot) {
  return document.many<CoverageRecord>("coverage", [&](const auto& take) -> Status {
    for (std::size_t i = 0; i < enum_names(Facet{}).size(); ++i) {
      const auto facet = static_cast<Facet>(i);
      const Coverage coverage = snapshot.covers(facet);
      if (auto done = take({facet, coverage.level, Bytes(coverage.why)}); !done) return done;
    }
    return Done{};
  });
}

Result<std::vector<Container>> read_containers(Snapshot& snapshot, Task& task, const std::string& only = {}) {
  std::vector<Container> containers;
  auto done = snapshot.list_containers(
      [&](Container&& container) {
        if (only.empty() || container.id == only) containers.push_back(std::move(container));
        return Status(Done{});
      },
      task);
  if (!done) return std::move(done).error();
  return containers;
}

template <class T>
using Lister = Status (Snapshot::*)(const std::string&, const Emit<T>&, Task&);

// One facet of all containers as one list. What the source does not have is left out: coverage says why.
template <class T, class Wanted>
Status append_facet(Document& document, Snapshot& snapshot, Facet facet, Lister<T> lister,
                    const std::vector<Container>& containers, Task& task, const Wanted& wanted) {
  if (snapshot.covers(facet).level == Coverage::Level::none) return Done{};
  return document.many<T>(to_text(facet), [&](const auto& take) -> Status {
    for (const Container& container : containers) {
      auto done = (snapshot.*lister)(
          container.id, [&](T&& item) { return wanted(item) ? take(item) : Status(Done{}); }, task);
      if (!done) return done;
    }
    return Done{};
  });
}

// Those recorded in the source, then those that reading it just now gave.
Status append_gaps(Document& document, Snapshot& snapshot, Task& task, Outcome& outcome) {
  return document.many<GapRecord>("gaps", [&](const auto& take) -> Status {
    if (snapshot.covers(Facet::gaps).level != Coverage::Level::none) {
      auto done = snapshot.list_gaps(
          [&](GapRecord&& gap) {
            if (gap.impact == Impact::lost) ++outcome.lost;
            return take(gap);
          },
          task);
      if (!done) return done;
    }
    task.gaps.finish();  // nothing is read any more: what was only counted is told as a number
    outcome.lost += task.gaps.count(Impact::lost);
    for (const Gap& gap : task.gaps.kept()) {
      if (auto done = take(record_of(gap, task.now ? task.now() : Timestamp{})); !done) return done;
    }
    return Done{};
  });
}

// How much of each facet there is, and what is missing: the end of every view, when both are known.
Status append_completeness(Document& document, Snapshot& snapshot, Task& task, Outcome& outcome) {
  auto done = append_coverage(document, snapshot);
  if (!done) return done;
  return append_gaps(document, snapshot, task, outcome);
}

Status append_findings(Document& document, Snapshot& snapshot, const std::string& source, Task& task,
                       Outcome& outcome) {
  if (snapshot.covers(Facet::findings).level == Coverage::Level::none) return Done{};
  FindingTally tally;
  auto done = document.many<Finding>("findings", [&](const auto& take) {
    return snapshot.list_findings(
        [&](Finding&& finding) {
          tally.add(finding.severity);
          return take(with_source(std::move(finding), source));
        },
        task);
  });
  outcome.worst = tally.worst();
  return done;
}

// Which facets to write, and of which processes.
struct Choice {
  std::set<Facet> facets;
  std::optional<std::int32_t> pid;
};

Choice choose(const ShowOptions& options) {
  Choice choice{{}, options.pid};
  const bool overview = options.overview();
  const auto add = [&](bool wanted, Facet facet) {
    if (wanted) choice.facets.insert(facet);
  };
  const auto wants = [&](ShowOptions::Section section) { return options.wants(section); };
  add(overview || wants(&ShowOptions::processes) || wants(&ShowOptions::environment) ||
          wants(&ShowOptions::security),
      Facet::processes);
  add(wants(&ShowOptions::threads), Facet::threads);
  add(wants(&ShowOptions::files), Facet::descriptors);
  add(wants(&ShowOptions::maps), Facet::mappings);
  add(overview || wants(&ShowOptions::sockets), Facet::sockets);
  add(overview || wants(&ShowOptions::mounts), Facet::mounts);
  add(overview || (options.all && !options.pid), Facet::layers);
  add(overview || (options.all && !options.pid), Facet::logs);
  return choice;
}

Status append_containers(Document& document, Snapshot& snapshot, const std::vector<Container>& containers,
                         const Choice& choice, Task& task) {
  auto done = document.many<Container>("containers", [&](const auto& take) -> Status {
    for (const Container& container : containers) {
      if (auto taken = take(container); !taken) return taken;
    }
    return Done{};
  });
  const auto any = [](const auto&) { return true; };
  const auto of_pid = [&choice](const auto& item) { return !choice.pid || item.pid == *choice.pid; };
  const auto of_owner = [&choice](const Socket& socket) {
    return !choice.pid || std::ranges::find(socket.pids, *choice.pid) != socket.pids.end();
  };
  const auto append = [&]<class T>(Facet facet, Lister<T> lister, const auto& wanted) {
    if (done && choice.facets.contains(facet)) {
      done = append_facet<T>(document, snapshot, facet, lister, containers, task, wanted);
    }
  };
  append(Facet::processes, &Snapshot::list_processes, of_pid);
  append(Facet::threads, &Snapshot::list_threads, of_pid);
  append(Facet::descriptors, &Snapshot::list_descriptors, of_pid);
  append(Facet::mappings, &Snapshot::list_mappings, of_pid);
  append(Facet::sockets, &Snapshot::list_sockets, of_owner);
  append(Facet::mounts, &Snapshot::list_mounts, any);
  append(Facet::layers, &Snapshot::list_layers, any);
  append(Facet::logs, &Snapshot::list_logs, any);
  return done;
}

}  // namespace

Result<Outcome> show_json(Snapshot& snapshot, const ShowOptions& options, Format format, const Out& out,
                          Task& task) {
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  auto containers = read_containers(snapshot, task, options.container);
  if (!containers) return std::move(containers).error();
  Document document(format, out);
  Outcome outcome;
  document.begin("ctriage.show/1");
  auto done = document.one("source", *source);
  if (done) done = append_containers(document, snapshot, *containers, choose(options), task);
  if (done) done = append_findings(document, snapshot, options.source, task, outcome);
  if (done) done = append_completeness(document, snapshot, task, outcome);
  if (done) done = document.end();
  if (!done) return std::move(done).error();
  return outcome;
}

Result<Outcome> show_finding_json(Snapshot& snapshot, std::string_view wanted, const ShowOptions& options,
                                  Format format, const Out& out, Task& task) {
  auto finding = find_finding(snapshot, wanted, task);
  if (!finding) return std::move(finding).error();
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  auto containers = read_containers(snapshot, task);
  if (!containers) return std::move(containers).error();
  std::erase_if(*containers, [&finding](const Container& c) { return c.id != finding->container; });
  Choice choice{{}, finding->pid};
  if (finding->pid) {
    choice.facets = {Facet::processes, Facet::threads, Facet::descriptors, Facet::mappings, Facet::sockets};
  }
  Document document(format, out);
  Outcome outcome;
  outcome.worst = finding->severity;
  document.begin("ctriage.show_finding/1");
  auto done = document.one("source", *source);
  if (done) done = document.one("finding", with_source(*finding, options.source));
  if (done) done = append_containers(document, snapshot, *containers, choice, task);
  if (done && finding->path) {
    done = append_facet<FileChange>(
        document, snapshot, Facet::changes, &Snapshot::list_changes, *containers, task,
        [&finding](const FileChange& change) { return change.path == *finding->path; });
  }
  if (done && options.around && finding->at) {
    done = document.many<Event>("timeline", [&](const auto& take) {
      return options.around(
          *finding->at, [&](Event&& event) { return take(event); }, task);
    });
  }
  if (done) done = append_completeness(document, snapshot, task, outcome);
  if (done) done = document.end();
  if (!done) return std::move(done).error();
  return outcome;
}

Result<Outcome> diff_json(Snapshot& snapshot, const DiffOptions& options, Format format, const Out& out,
                          Task& task) {
  if (auto known = has_changes(snapshot); !known) return std::move(known).error();
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  auto containers = read_containers(snapshot, task);
  if (!containers) return std::move(containers).error();
  Document document(format, out);
  Outcome outcome;
  document.begin("ctriage.diff/1");
  auto done = document.one("source", *source);
  if (done) {
    done = append_facet<FileChange>(document, snapshot, Facet::changes, &Snapshot::list_changes, *containers,
                                    task, [](const FileChange&) { return true; });
  }
  if (done) {
    auto findings = judge(snapshot, options.judge, task);
    if (!findings) return std::move(findings).error();
    outcome.worst = findings->worst();
  }
  if (done) done = append_completeness(document, snapshot, task, outcome);
  if (done) done = document.end();
  if (!done) return std::move(done).error();
  return outcome;
}

}  // namespace ctriage::report
