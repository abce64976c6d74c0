#include "lib/verdict/judge.h"

#include <algorithm>
#include <utility>

#include "lib/core/text.h"
#include "lib/model/record.h"
#include "lib/verdict/node_look.h"

namespace ctriage::verdict {
namespace {

constexpr std::size_t kMaxKeptArgumentBytes = 4'096;  // of one process
constexpr std::size_t kMaxKeptArguments = 64;

bool covered(const Snapshot& snapshot, Facet facet) {
  return snapshot.covers(facet).level != Coverage::Level::none;
}

// As long as it is kept: an environment may have megabytes, arguments too.
std::size_t make_small(Process& process) {
  process.environ.clear();
  process.limits.clear();
  process.namespaces.clear();
  process.cgroups.clear();
  if (process.argv.size() > kMaxKeptArguments) process.argv.resize(kMaxKeptArguments);
  std::size_t bytes = 0;
  for (Bytes& word : process.argv) {
    if (word.raw.size() > kMaxKeptArgumentBytes - bytes) word.raw.resize(kMaxKeptArgumentBytes - bytes);
    bytes += word.raw.size();
  }
  return bytes + process.exe.path.raw.size() + process.cwd.raw.size() + process.root.raw.size();
}

class Judge {
 public:
  Judge(Snapshot& snapshot, rules::Engine& engine, const Knowledge& known, std::string source,
        const Options& options, const Emit<Finding>& emit, Tally& tally, Task& task)
      : snapshot_(snapshot),
        engine_(engine),
        known_(known),
        source_(std::move(source)),
        options_(options),
        emit_(emit),
        tally_(tally),
        task_(task) {}

  Status judge(const Container& container) {
    Scene scene{snapshot_, container, known_, std::nullopt, {}, {}, {}};
    scene.image = find_image_facts(scene, task_);
    scene_ = &scene;
    for (const auto& part :
         {&Judge::take_mounts, &Judge::take_processes, &Judge::judge_processes, &Judge::judge_mappings,
          &Judge::judge_patched_code, &Judge::judge_sockets, &Judge::judge_mounts, &Judge::judge_changes}) {
      if (auto done = (this->*part)(); !done) return done;
    }
    return Done{};
  }

  // What the containers may do, and what of the node changed that they may have reached.
  Status judge_node() {
    std::vector<Posture> postures;
    GapLog aside;  // "this kind of source does not record it" is told by nobody else, and needs no telling
    Task quiet = task_.with(aside);
    auto listed = snapshot_.list_postures(
        [&](Posture&& posture) {
          if (postures.size() < kMaxProcessesKept) postures.push_back(std::move(posture));
          return Status(Done{});
        },
        quiet);
    if (!listed) return listed;
    for (const Posture& posture : postures) {
      rules::Context context = context_of_node(kKind<Posture>, posture.container, posture.container);
      if (auto done = evaluate_node(posture, look_at(posture), context); !done) return done;
    }
    std::vector<NodeFact> facts;
    std::uint64_t beyond = 0;
    listed = snapshot_.list_node_facts(
        [&](NodeFact&& fact) {
          if (fact.value && fact.value->raw.size() > kMaxKeptArgumentBytes)
            fact.value->raw.resize(kMaxKeptArgumentBytes);
          if (facts.size() < kMaxNodeFacts) {
            facts.push_back(std::move(fact));
          } else {
            ++beyond;
          }
          return Status(Done{});
        },
        quiet);
    if (!listed) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      aside.add({Impact::lost, "verdict.node", "the node", std::move(listed).error()});
    }
    if (beyond > 0)
      aside.add({Impact::lost,
                 "verdict.node",
                 "the node",
                 {Errc::limit, std::to_string(beyond) + " changes of the node are not judged"}});
    tell_node_gaps(aside);
    const NodeLook look(std::move(postures), facts);
    std::set<std::size_t> told;  // bursts
    for (const NodeFact& fact : facts) {
      const Seen seen = look.look_at(fact);
      const bool many = std::ranges::find(seen.traits, "many_at_once") != seen.traits.end();
      if (many && !told.insert(look.burst_of(fact)).second) continue;
      rules::Context context = context_of_node(kKind<NodeFact>, "node/" + fact.path.raw, {});
      context.path = fact.path;
      if (fact.file) context.at = fact.file->ctime;
      if (auto done = evaluate_node(fact, seen, context); !done) return done;
    }
    return Done{};
  }

 private:
  // Of the container nothing is lost by it: one gap for all of the node.
  void tell_node_gaps(const GapLog& aside) {
    const std::uint64_t lost = aside.count(Impact::lost) + aside.count(Impact::degraded);
    if (lost == 0) return;
    const auto first =
        std::ranges::find_if(aside.kept(), [](const Gap& gap) { return gap.impact != Impact::note; });
    if (first == aside.kept().end()) return;
    task_.gaps.add({Impact::degraded, "verdict.node", first->origin,
                    Error(first->error)
                        .within("of the node not all was looked at (" + counted(lost, "gap", "gaps") + ")")});
  }

  template <class T>
  Status evaluate_node(const T& item, const Seen& seen, const rules::Context& context) {
    const RecordOf<T> base(item);
    const RecordOf<Seen> noticed(seen);
    JoinedRecord record(base);
    record.join("seen", &noticed);
    return engine_.evaluate(record, context, emit_);
  }
  rules::Context context_of_node(std::string_view kind, const std::string& identity,
                                 const std::string& container) const {
    rules::Context context;
    context.kind = kind;
    context.identity = identity;
    context.container = container;
    context.source = Bytes(source_);
    return context;
  }

  template <class T>
  Status evaluate(const T& item, const Seen& seen, const rules::Context& context,
                  std::string_view relation = {}, const Process* relative = nullptr) {
    return evaluate(item, seen, context, relation, relative, emit_);
  }
  template <class T>
  Status evaluate(const T& item, const Seen& seen, const rules::Context& context, std::string_view relation,
                  const Process* relative, const Emit<Finding>& emit) {
    const RecordOf<T> base(item);
    const RecordOf<Seen> noticed(seen);
    const RecordOf<Container> container(scene_->container);
    const ImageFacts no_facts;
    const RecordOf<ImageFacts> image(scene_->image ? *scene_->image : no_facts);
    const Process nobody;
    const RecordOf<Process> related(relative != nullptr ? *relative : nobody);
    JoinedRecord record(base);
    record.join("seen", &noticed);
    record.join("container", &container);
    record.join("image", scene_->image ? &image : nullptr);
    record.join(relation, relative != nullptr ? &related : nullptr);
    return engine_.evaluate(record, context, emit);
  }

  rules::Context context_of(std::string_view kind, const std::string& what) const {
    rules::Context context;
    context.kind = kind;
    context.identity = scene_->container.id + '/' + what;
    context.container = scene_->container.id;
    context.source = Bytes(source_);
    context.image = scene_->container.image;
    return context;
  }

  const Process* find(std::int32_t pid) const {
    const auto at = scene_->processes.find(pid);
    return at == scene_->processes.end() ? nullptr : &at->second;
  }

  Status take_mounts() {
    if (!covered(snapshot_, Facet::mounts)) return Done{};
    return snapshot_.list_mounts(
        scene_->container.id,
        [&](Mount&& mount) {
          if (scene_->mounts.size() < kMaxMountsKept) scene_->mounts.push_back(std::move(mount));
          return Status(Done{});
        },
        task_);
  }

  // Twice: what a process is held against are its relatives, which may be listed behind it.
  Status take_processes() {
    if (!covered(snapshot_, Facet::processes)) return Done{};
    std::size_t bytes = 0;
    std::uint64_t beyond = 0;
    auto listed = snapshot_.list_processes(
        scene_->container.id,
        [&](Process&& process) {
          bytes += make_small(process);
          if (scene_->processes.size() >= kMaxProcessesKept || bytes > kMaxKeptTextBytes) {
            ++beyond;
          } else {
            scene_->processes.emplace(process.pid, std::move(process));
          }
          return Status(Done{});
        },
        task_);
    if (beyond > 0) {
      task_.gaps.add(
          {Impact::degraded,
           "verdict.processes",
           scene_->container.id,
           {Errc::limit, std::to_string(beyond) + " processes are judged without their relatives"}});
    }
    return listed;
  }

  Status judge_processes() {
    if (!covered(snapshot_, Facet::processes)) return Done{};
    return snapshot_.list_processes(
        scene_->container.id,
        [&](Process&& process) {
          const Seen seen = look_at(process, *scene_, task_);
          return evaluate(process, seen, rules::context_of(process, scene_->container, source_), "parent",
                          find(process.ppid));
        },
        task_);
  }

  // Foreign code once per file, whoever has it mapped; of a program of the node its libraries are no news.
  // Memory that may be executed and is of no file once per process.
  Status judge_mappings() {
    if (!covered(snapshot_, Facet::mappings)) return Done{};
    struct Anonymous {
      Mapping largest;
      Seen seen;
    };
    std::map<std::int32_t, Anonymous> anonymous;
    std::set<std::pair<std::uint64_t, std::uint64_t>> named;
    const auto foreign = [](const Mapping& mapping) {
      return mapping.origin && *mapping.origin != Origin::image && *mapping.origin != Origin::unknown;
    };
    auto listed = snapshot_.list_mappings(
        scene_->container.id,
        [&](Mapping&& mapping) -> Status {
          const Process* owner = find(mapping.pid);
          if (has_copied_code(mapping)) {
            Seen seen;
            seen.traits.emplace_back("copied_code");
            seen.size_bytes = mapping.dumped_bytes.value_or(0);
            rules::Context context =
                context_of(kKind<Mapping>, std::to_string(mapping.pid) + '/' + mapping.path.raw + "/copied");
            context.pid = mapping.pid;
            context.path = mapping.path;
            if (auto done = evaluate(mapping, seen, context, "process", owner); !done) return done;
          }
          if (foreign(mapping)) {
            if (owner != nullptr && owner->exe.origin == Origin::host) return Done{};
            if (!named.insert({mapping.device.value, mapping.inode.value}).second) return Done{};
            return evaluate(mapping, {}, rules::context_of(mapping, scene_->container, source_), "process",
                            owner);
          }
          if (!is_anonymous_code(mapping)) return Done{};
          Anonymous& of_pid = anonymous[mapping.pid];
          Seen& seen = of_pid.seen;
          const std::uint64_t size = mapping.end.value - std::min(mapping.start.value, mapping.end.value);
          seen.count = seen.traits.empty() ? 1 : seen.count + 1;
          if (seen.traits.empty()) seen.traits.emplace_back("anonymous_code");
          const bool writable = mapping.protection.find('w') != std::string::npos;
          if (writable && seen.traits.size() == 1) seen.traits.emplace_back("writable_code");
          if (size >= seen.size_bytes) {
            seen.size_bytes = size;
            of_pid.largest = std::move(mapping);
          }
          return Done{};
        },
        task_);
    if (!listed) return listed;
    for (auto& [pid, found] : anonymous) {
      const Process* owner = find(pid);
      if (owner != nullptr && known_.is_just_in_time(owner->exe.path.view()))
        found.seen.traits.emplace_back("just_in_time");
      rules::Context context = context_of(kKind<Mapping>, std::to_string(pid) + "/anonymous");
      context.pid = pid;
      if (auto done = evaluate(found.largest, found.seen, context, "process", owner); !done) return done;
    }
    return Done{};
  }

  Status judge_patched_code() {
    if (!options_.patched) return Done{};
    return options_.patched(
        scene_->container.id,
        [&](PatchedCode&& code) -> Status {
          Seen seen;
          seen.traits.emplace_back(code.breakpoints ? "breakpoints" : "patched_code");
          seen.count = code.pids.size();
          seen.size_bytes = code.bytes;
          seen.proof = Bytes("the first at " + JsonWriter::hex_text(Hex{code.first_offset}) +
                             " of the file: " + code.was + " there, " + code.is + " in memory");
          rules::Context context = context_of(kKind<Mapping>, code.mapping.path.raw + "/code/" + code.is);
          context.pid = code.mapping.pid;
          context.path = code.mapping.path;
          return evaluate(code.mapping, seen, context, "process", find(code.mapping.pid));
        },
        task_);
  }

  Status judge_sockets() {
    if (!covered(snapshot_, Facet::sockets)) return Done{};
    return snapshot_.list_sockets(
        scene_->container.id,
        [&](Socket&& socket) -> Status {
          if (socket.pids.empty()) return Done{};  // of the network namespace, not of this container
          const Process* owner = find(socket.pids.front());
          rules::Context context = context_of(kKind<Socket>, socket.family + '/' + socket.state + '/' +
                                                                 socket.local.raw + '/' + socket.remote.raw);
          context.pid = socket.pids.front();
          return evaluate(socket, look_at(socket), context, "process", owner);
        },
        task_);
  }

  Status judge_mounts() {
    for (const Mount& mount : scene_->mounts) {
      rules::Context context = context_of(kKind<Mount>, mount.mountpoint.raw);
      context.path = mount.mountpoint;
      if (auto done = evaluate(mount, look_at(mount, scene_->container), context); !done) return done;
    }
    return Done{};
  }

  Status judge_changes() {
    if (!covered(snapshot_, Facet::changes)) return Done{};
    ChangeLook look(*scene_);
    return snapshot_.list_changes(
        scene_->container.id,
        [&](FileChange&& change) -> Status {
          const Seen seen = look.look_at(change, task_);
          bool found = false;
          const Emit<Finding>& outer = emit_;
          const Emit<Finding> counted = [&](Finding&& finding) {
            found = true;
            return outer(std::move(finding));
          };
          if (auto done = evaluate(change, seen, rules::context_of(change, scene_->container, source_), {},
                                   nullptr, counted);
              !done)
            return done;
          ++tally_.changes;
          if (found) {
            ++tally_.named;
          } else if (change.explained) {
            ++tally_.explained[*change.explained];
            if (options_.explained) return options_.explained(change, *change.explained);
          } else {
            ++tally_.other;
          }
          return Done{};
        },
        task_);
  }

  Snapshot& snapshot_;
  rules::Engine& engine_;
  const Knowledge& known_;
  std::string source_;
  const Options& options_;
  const Emit<Finding>& emit_;
  Tally& tally_;
  Task& task_;
  Scene* scene_ = nullptr;
};

}  // namespace

Status judge(Snapshot& snapshot, const rules::RuleSet& rules, const Options& options,
             const Emit<Finding>& emit, Tally& tally, Task& task) {
  auto known = Knowledge::builtin();
  if (!known) return std::move(known).error();
  auto source = snapshot.describe(task);
  if (!source) return std::move(source).error();
  rules::Engine engine(rules);
  engine.set_time(task.now());
  if (covered(snapshot, Facet::findings)) {  // recorded in it: a bundle
    std::uint64_t count = 0;
    std::set<std::string> keys;
    auto listed = snapshot.list_findings(
        [&](Finding&& finding) -> Status {
          ++count;
          if (keys.size() < kMaxRecordedFindings) keys.insert(finding.key);
          return emit(std::move(finding));
        },
        task);
    if (!listed) return listed;
    engine.go_on_after(count, std::move(keys));
  }
  std::vector<Container> containers;
  auto listed = snapshot.list_containers(
      [&](Container&& container) {
        containers.push_back(std::move(container));
        return Status(Done{});
      },
      task);
  if (!listed) return listed;
  Judge judge(snapshot, engine, *known, source->target.raw, options, emit, tally, task);
  for (const Container& container : containers) {
    if (auto done = judge.judge(container); !done) return done;
  }
  if (options.node) {
    if (auto done = judge.judge_node(); !done) return done;
  }
  tally.known_good = engine.known_good_count();
  for (rules::Suppressed& entry : engine.suppressed()) {
    if (entry.count > 0) tally.suppressed.push_back(std::move(entry));
  }
  return Done{};
}

}  // namespace ctriage::verdict
