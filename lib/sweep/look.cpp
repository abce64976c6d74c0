#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "lib/core/address.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/search/pattern.h"
#include "lib/search/scanner.h"
#include "lib/sweep/sweep.h"

namespace ctriage::sweep {
namespace {

class Looker {
 public:
  Looker(Snapshot& snapshot, const Indicators& indicators, Task& task)
      : snapshot_(snapshot), indicators_(indicators), task_(task) {}

  Status look_at(SweptContainer& swept) {
    if (auto done = look_at_processes(swept); !done) return done;
    if (auto done = look_at_sockets(swept); !done) return done;
    return indicators_.size() == 0 ? Status(Done{}) : look_at_files(swept);
  }

  // Of all containers at once: `find` gives the one of an id.
  Status look_at_memory(const std::function<SweptContainer*(const std::string&)>& find) {
    if (indicators_.texts().empty()) return Done{};
    search::Patterns patterns({});
    for (const std::string& text : indicators_.texts()) {
      if (auto added = patterns.add(std::string(kTextPrefix) + text); !added) return added;
    }
    std::set<std::tuple<std::string, std::int32_t, std::string>> told;  // each text once a process
    const Emit<MemoryMatch> each = [&](MemoryMatch&& found) -> Status {
      SweptContainer* swept = find(found.container);
      const std::int32_t pid = found.pid.value_or(0);
      std::string_view name = found.pattern.raw;
      if (name.starts_with(kTextPrefix)) name.remove_prefix(kTextPrefix.size());
      const std::string indicator(name);
      if (swept == nullptr || !told.insert({found.container, pid, indicator}).second) return Done{};
      std::string where(to_text(found.kind));
      if (found.address) where += " at " + JsonWriter::hex_text(*found.address);
      if (!found.path.empty()) where += " of " + found.path.raw;
      match(*swept, IndicatorKind::text, &indicator, pid, std::move(where));
      return Done{};
    };
    search::Scanner scanner(patterns.all(), {}, each, task_);
    const MemoryQuery processes{
        .pid = MemoryQuery::kProcessesAlone, .all_file_pages = false, .swap_in = SwapIn::none};
    if (auto walked = snapshot_.visit_memory(processes, scanner, task_); !walked) return walked;
    return scanner.finish();
  }

 private:
  static constexpr std::string_view kTextPrefix = "text:";

  // False, and told once, when there are as many already.
  bool has_room(const SweptContainer& swept, std::size_t count, std::size_t most, std::string_view of) {
    if (count < most) return true;
    if (full_.insert({swept.container.id, std::string(of)}).second) {
      task_.gaps.add({Impact::degraded,
                      "sweep",
                      swept.container.id,
                      {Errc::limit,
                       "more than " + with_commas(most) + " " + std::string(of) + ": the rest is left out"}});
    }
    return false;
  }

  void match(SweptContainer& swept, IndicatorKind kind, const std::string* indicator, std::int32_t pid,
             std::string where) {
    if (indicator == nullptr || !has_room(swept, swept.matches.size(), kMaxMatches, "indicators found"))
      return;
    IndicatorMatch found;
    found.kind = kind;
    found.indicator = Bytes(*indicator);
    found.container = swept.container.id;
    if (pid > 0) found.pid = pid;
    found.where = Bytes(std::move(where));
    swept.matches.push_back(std::move(found));
  }

  Status look_at_processes(SweptContainer& swept) {
    std::set<std::pair<std::string, std::string>> known;
    const auto add = [&](const Executable& program, std::int32_t pid) {
      const std::string sha256 = program.sha256.value_or("");
      match(swept, IndicatorKind::sha256, indicators_.find_sha256(sha256), pid, "runs " + program.path.raw);
      match(swept, IndicatorKind::path, indicators_.find_path(program.path.raw), pid, "runs it");
      if (program.path.empty() || !known.insert({program.path.raw, sha256}).second) return;
      if (has_room(swept, swept.programs.size(), kMaxPrograms, "programs"))
        swept.programs.push_back({program.path, program.origin, sha256, pid});
    };
    const Emit<Process> each = [&](Process&& process) -> Status {
      ++swept.processes;
      add(process.exe, process.pid);
      if (process.script) add(*process.script, process.pid);
      return Done{};
    };
    return snapshot_.list_processes(swept.container.id, each, task_);
  }

  void add_address(SweptContainer& swept, std::vector<Bytes>& into, Bytes address) {
    if (std::ranges::find(into, address) == into.end() &&
        has_room(swept, into.size(), kMaxAddresses, "addresses"))
      into.push_back(std::move(address));
  }

  // In the node's network namespace sockets are everybody's: those of members alone count.
  Status look_at_sockets(SweptContainer& swept) {
    const std::vector<std::string>& rights = swept.container.rights;
    const bool shared = std::ranges::find(rights, "hostNetwork") != rights.end();
    const Emit<Socket> each = [&](Socket&& socket) -> Status {
      const bool internet = socket.family.starts_with("tcp") || socket.family.starts_with("udp");
      if (!internet || (shared && socket.pids.empty())) return Done{};
      const std::int32_t pid = socket.pids.empty() ? 0 : socket.pids.front();
      if (socket.state == "LISTEN") {
        match(swept, IndicatorKind::address, indicators_.find_address(socket.local.raw), pid,
              "listens on " + socket.local.raw);
        add_address(swept, swept.listens, Bytes(socket.family + " " + socket.local.raw));
        return Done{};
      }
      const auto peer = canonical_address(split_endpoint(socket.remote.raw).address);
      if (!peer || is_own_address(*peer)) return Done{};
      match(swept, IndicatorKind::address, indicators_.find_address(socket.remote.raw), pid,
            socket.family + " to " + socket.remote.raw);
      add_address(swept, swept.peers, Bytes(*peer));
      return Done{};
    };
    return snapshot_.list_sockets(swept.container.id, each, task_);
  }

  Status look_at_files(SweptContainer& swept) {
    const std::string& id = swept.container.id;
    const Emit<FileChange> change = [&](FileChange&& seen) -> Status {
      if (!seen.after) return Done{};
      const std::string what = "changed file (" + std::string(to_text(seen.kind)) + ")";
      match(swept, IndicatorKind::path, indicators_.find_path(seen.path.raw), 0, what);
      if (seen.after->sha256)
        match(swept, IndicatorKind::sha256, indicators_.find_sha256(*seen.after->sha256), 0,
              what + " " + seen.path.raw);
      return Done{};
    };
    if (auto done = snapshot_.list_changes(id, change, task_); !done) return done;
    const Emit<Descriptor> open = [&](Descriptor&& seen) -> Status {
      match(swept, IndicatorKind::path, indicators_.find_path(seen.target.raw), seen.pid,
            "has it open, descriptor " + std::to_string(seen.fd));
      return Done{};
    };
    if (auto done = snapshot_.list_descriptors(id, open, task_); !done) return done;
    const Emit<Mapping> mapping = [&](Mapping&& seen) -> Status {
      if (seen.path.empty() || !libraries_.insert({id, seen.pid, seen.path.raw}).second) return Done{};
      match(swept, IndicatorKind::path, indicators_.find_path(seen.path.raw), seen.pid, "has it mapped");
      if (seen.sha256)
        match(swept, IndicatorKind::sha256, indicators_.find_sha256(*seen.sha256), seen.pid,
              "has mapped " + seen.path.raw);
      return Done{};
    };
    if (auto done = snapshot_.list_mappings(id, mapping, task_); !done) return done;
    libraries_.clear();
    const Emit<TreeFile> tree = [&](TreeFile&& seen) -> Status {
      const std::string& path = seen.path.raw;
      match(swept, IndicatorKind::path, indicators_.find_path(path), 0,
            "file in the mount " + seen.mount.raw);
      if (seen.file.sha256)
        match(swept, IndicatorKind::sha256, indicators_.find_sha256(*seen.file.sha256), 0, "file " + path);
      return Done{};
    };
    return snapshot_.list_trees(id, tree, task_);
  }

  Snapshot& snapshot_;
  const Indicators& indicators_;
  Task& task_;
  std::set<std::pair<std::string, std::string>> full_;
  std::set<std::tuple<std::string, std::int32_t, std::string>> libraries_;  // of a container, each once
};

void keep_the_worst(SweptContainer& swept) {
  std::ranges::stable_sort(swept.findings, std::greater<>(), &Finding::severity);
  if (swept.findings.size() <= kMaxFindings) return;
  swept.findings_left_out += swept.findings.size() - kMaxFindings;
  swept.findings.resize(kMaxFindings);
}

}  // namespace

Result<SweptTarget> look(Snapshot& snapshot, const Indicators& indicators, Task& task) {
  SweptTarget target;
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  target.target = std::move(source->target);
  std::map<std::string, SweptContainer> containers;
  const Emit<Container> each = [&](Container&& container) -> Status {
    const std::string id = container.id;
    containers[id].container = std::move(container);
    return Done{};
  };
  if (auto listed = snapshot.list_containers(each, task); !listed) return listed.error();
  Looker looker(snapshot, indicators, task);
  for (auto& [id, swept] : containers) {
    if (auto looked = looker.look_at(swept); !looked) return looked.error();
  }
  const auto find = [&](const std::string& id) {
    const auto of = containers.find(id);
    return of == containers.end() ? nullptr : &of->second;
  };
  if (auto looked = looker.look_at_memory(find); !looked) return looked.error();
  const Emit<Finding> finding = [&](Finding&& found) -> Status {
    SweptContainer* swept = find(found.container);
    if (swept == nullptr) return Done{};
    swept->findings.push_back(std::move(found));
    if (swept->findings.size() >= 4 * kMaxFindings) keep_the_worst(*swept);
    return Done{};
  };
  if (auto listed = snapshot.list_findings(finding, task); !listed) return listed.error();
  for (auto& [id, swept] : containers) {
    keep_the_worst(swept);
    if (swept.container.sandbox && swept.findings.empty() && swept.matches.empty()) continue;
    target.containers.push_back(std::move(swept));
  }
  return target;
}

}  // namespace ctriage::sweep
