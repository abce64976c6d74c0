// Group "memory": what processes have in memory, as ELF cores; lib/memory/SEMANTICS.md, "What collect takes".
#include <algorithm>

#include "lib/collect/collection.h"
#include "lib/core/text.h"
#include "lib/memory/dump.h"

namespace ctriage::collect {
namespace {

using source::LiveContainer;

constexpr std::size_t kMostTold = 4;             // processes left out, by name
constexpr std::uint64_t kForTheRest = 64 << 20;  // of the bundle, besides UpperDir and logs

ResidentParts resident_of(const Root& proc, std::int32_t pid, std::uint64_t start_ticks) {
  const auto process = proc::open_process(proc, pid, start_ticks);
  const auto status = process ? process->read_file_in_root("status", kMaxProcTextBytes)
                              : Result<std::string>(process.error());
  return status ? parse_resident(*status) : ResidentParts{};  // that it is gone is told when its turn comes
}

// How large the bundle may become by one list: what follows must find room, too, and a process may have as
// much memory as it likes.
class Room {
 public:
  Room(const bundle::Writer& out, std::uint64_t most_bytes)
      : out_(out), began_bytes_(out.size_bytes()), most_bytes_(most_bytes) {}
  bool take(std::uint64_t bytes) {
    pushed_bytes_ += bytes;
    // Chunks under way are not in the file yet, and may not get any smaller.
    return std::min(began_bytes_ + pushed_bytes_, out_.size_bytes() + kMostUnderWay) <= most_bytes_;
  }

 private:
  static constexpr std::uint64_t kMostUnderWay = 8 * kChunkBytes;  // lib/bundle/pipeline.cpp
  const bundle::Writer& out_;
  std::uint64_t began_bytes_;
  std::uint64_t pushed_bytes_ = 0;
  std::uint64_t most_bytes_;
};

// The two members of a process, which begin with the first byte: of what cannot be read at all none is there.
class Members final : public ByteSink {
 public:
  Members(Collection& in, const LiveContainer& live, const MemoryMember& member, Room& room)
      : in_(in),
        core_path_(in.bulk_path(in.path_of(live, stem_of(member) + ".core"))),
        pages_path_(in.path_of(live, stem_of(member) + ".pages.jsonl")),
        source_("/proc/" + std::to_string(member.pid) + "/mem " + member.program),
        room_(room) {}

  Status write(std::span<const std::byte> bytes) override {
    if (!core_) {
      if (auto opened = open(); !opened) return opened;
    }
    if (!room_.take(bytes.size()))
      return Error{Errc::limit,
                   "no more room for memory in the bundle: what is left is for the UpperDir, logs "
                   "and the node"};
    return core_->write(bytes);
  }
  Status add(const PageRange& range) { return in_.write(*pages_, range); }

  [[nodiscard]] bool has_begun() const { return core_ != nullptr; }
  Status finish(bundle::Outcome outcome, const std::string& why) {
    auto core = core_->finish(outcome, why);
    auto pages = pages_->finish(outcome, why);
    return core ? pages : core;
  }
  void not_collected(const std::string& why) const {
    in_.out.not_collected(core_path_, source_, why);
    in_.out.not_collected(pages_path_, source_, why);
  }

 private:
  static std::string stem_of(const MemoryMember& member) { return "memory/" + std::to_string(member.pid); }
  Status open() {
    auto core = in_.out.open(core_path_, in_.bulk_encoding(), source_);
    if (!core) return std::move(core).error();
    auto pages = in_.out.open(pages_path_, bundle::Encoding::jsonl, source_);
    if (!pages) return std::move(pages).error();
    core_ = *std::move(core);
    pages_ = *std::move(pages);
    return Done{};
  }

  Collection& in_;
  const std::string core_path_;
  const std::string pages_path_;
  const std::string source_;
  Room& room_;
  std::unique_ptr<bundle::Stream> core_;
  std::unique_ptr<bundle::Stream> pages_;
};

class Taking {
 public:
  Taking(Collection& in, bool suspicious, std::uint64_t chosen)
      : in_(in),
        limited_(!suspicious && in.options.memory.mode == MemoryMode::automatic),
        counts_(suspicious ? in.counts.suspicious_memory : in.counts.other_memory),
        room_(in.out, suspicious ? most_before_the_rest() : UINT64_MAX) {
    counts_.chosen = chosen;
  }

  Status take(const MemoryMember& member, const std::string& why, std::uint64_t anonymous_bytes);
  void not_reached(const MemoryMember& member, const Error& why) {
    const Error told = Error(why).within("not reached");
    gap(Impact::lost, member, told);
    members_of(member).not_collected(told.what);
  }

 private:
  [[nodiscard]] const LiveContainer& live_of(const MemoryMember& member) const {
    return in_.snapshot.containers()[member.container];
  }
  [[nodiscard]] Members members_of(const MemoryMember& member) {
    return {in_, live_of(member), member, room_};
  }
  [[nodiscard]] std::uint64_t most_before_the_rest() const {
    const std::uint64_t most = in_.options.max_bytes;
    if (most == UINT64_MAX) return most;
    const std::uint64_t left = most - std::min(most, in_.out.size_bytes());
    std::uint64_t reserved = kForTheRest;
    for (const Collector& collector : collectors()) {
      if (collector.group != kMemoryGroup && collector.estimate != nullptr &&
          !in_.options.left_out.contains(collector.name))
        reserved += collector.estimate(in_.snapshot, in_.options.memory);
    }
    return most - std::min(reserved, left / 2);
  }
  void gap(Impact impact, const MemoryMember& member, Error error) {
    in_.task.gaps.add({impact, "memory.process", origin_of(member), std::move(error)});
  }
  static std::string origin_of(const MemoryMember& member) {
    return "pid " + std::to_string(member.pid) + (member.program.empty() ? "" : " " + member.program);
  }
  void leave_out(const MemoryMember& member, const std::string& why);
  Status failed(Members& members, const MemoryMember& member, Error error);

  Collection& in_;
  const bool limited_;
  MemoryCounts& counts_;
  Room room_;
};

void Taking::leave_out(const MemoryMember& member, const std::string& why) {
  gap(Impact::note, member, {Errc::limit, why});
  members_of(member).not_collected(why);
  if (counts_.left_out++ < kMostTold) in_.memory.left_out.push_back(origin_of(member) + ": " + why);
}

Status Taking::failed(Members& members, const MemoryMember& member, Error error) {
  const bool ends = ends_the_run(error);
  // A kernel thread has no memory that could be lost.
  gap(error.code == Errc::unsupported ? Impact::note : Impact::lost, member, error);
  if (!members.has_begun()) {
    members.not_collected(error.what);
    if (ends) return error;
    return Done{};
  }
  auto finished = members.finish(bundle::Outcome::partial, error.what);
  if (ends) return error;
  return finished;
}

Status Taking::take(const MemoryMember& member, const std::string& why, std::uint64_t anonymous_bytes) {
  const MemoryOptions& options = in_.options.memory;
  memory::DumpOptions dump;
  if (limited_) {
    if (const auto over = over_limit(options, anonymous_bytes, counts_.bytes)) {
      leave_out(member, *over);
      return Done{};
    }
    dump.max_core_bytes = room_for_one(options, counts_.bytes);
  }
  const std::size_t parts = memory::kMaxSharedParts / in_.snapshot.containers().size();
  dump.plan.shared = &in_.memory.shared.try_emplace(member.container, parts).first->second;
  dump.plan.file_pages = options.file_pages;

  source::Node& node = in_.snapshot.node();
  if (!in_.memory.freezers) in_.memory.freezers.emplace(node, options.freeze);
  if (!in_.memory.swap) in_.memory.swap.emplace(node, options.swap_in);
  dump.plan.swap_in = in_.memory.swap->admits(member.pid, in_.task);
  dump.freeze = in_.memory.freezers->options_for(live_of(member), member.pid, in_.task);
  const Timestamp began_at = in_.task.now();
  Members members = members_of(member);
  const std::uint64_t lost = in_.task.gaps.count(Impact::lost);
  auto dumped = memory::dump_process(
      node.proc, node.readers, member.pid, member.start_ticks, dump, members,
      [&](PageRange&& range) { return members.add(range); }, in_.task);
  if (!dumped) {
    if (auto go_on = in_.task.check(); !go_on) return failed(members, member, go_on.error());
    // Our own limit, told before the first byte; that of the bundle comes with one.
    if (dumped.error().code == Errc::full && !members.has_begun() && limited_) {
      leave_out(member, over_limit(options, dump.max_core_bytes + 1, counts_.bytes).value_or("too large"));
      return Done{};
    }
    return failed(members, member, std::move(dumped).error());
  }
  const bool whole = in_.task.gaps.count(Impact::lost) == lost;
  const std::string missing =
      (dumped->lost_bytes > 0 ? human_size(dumped->lost_bytes) : std::string("something")) +
      " of it could not be read: gaps.jsonl";
  auto finished =
      members.finish(whole ? bundle::Outcome::collected : bundle::Outcome::partial, whole ? "" : missing);
  if (!finished) return finished;
  ++counts_.processes;
  counts_.bytes += dumped->data_bytes;
  counts_.frozen_ns += dumped->frozen_ns;
  in_.memory.freezers->stood(live_of(member), dumped->frozen_ns);
  return in_.out.record("memory", {{"container", live_of(member).container.id},
                                   {"pid", static_cast<std::uint64_t>(member.pid)},
                                   {"start_ticks", member.start_ticks},
                                   {"program", member.program},
                                   {"why", why.empty() ? std::string("one of the others") : why},
                                   {"core_bytes", dumped->size_bytes},
                                   {"data_bytes", dumped->data_bytes},
                                   {"left_bytes", dumped->left_bytes},
                                   {"lost_bytes", dumped->lost_bytes},
                                   {"began_at", to_rfc3339(began_at)},
                                   {"frozen", std::string(dumped->frozen ? "yes" : "no")},
                                   {"frozen_ns", static_cast<std::uint64_t>(dumped->frozen_ns)}});
}

Status take_memory(Collection& in, bool suspicious) {
  struct Turn {
    std::size_t member = 0;
    ResidentParts parts;
  };
  const std::vector<MemoryMember>& members = in.memory.members;
  const std::vector<std::string> why = suspicions(members);
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (why[i].empty() == suspicious) continue;
    const auto& processes = in.snapshot.containers()[members[i].container].processes;
    const auto held = processes.find(members[i].pid);
    if (held != processes.end() && held->second.ended) continue;  // a zombie has none
    turns.push_back({i, resident_of(in.snapshot.node().proc, members[i].pid, members[i].start_ticks)});
  }
  std::ranges::stable_sort(turns, {}, [](const Turn& turn) { return turn_of(turn.parts); });
  Taking taking(in, suspicious, turns.size());
  Status going = Done{};
  for (const Turn& turn : turns) {
    const MemoryMember& member = members[turn.member];
    if (!going) {
      taking.not_reached(member, going.error());
      continue;
    }
    going = taking.take(member, why[turn.member], turn.parts.anonymous_bytes);
  }
  return going;
}

}  // namespace

Status take_suspicious_memory(Collection& in) { return take_memory(in, true); }
Status take_other_memory(Collection& in) { return take_memory(in, false); }

std::uint64_t memory_bytes(const source::LiveSnapshot& snapshot, const MemoryOptions& memory) {
  const bool limited = memory.mode == MemoryMode::automatic;
  std::uint64_t bytes = 0;
  for (const LiveContainer& live : snapshot.containers()) {
    for (const auto& [pid, held] : live.processes) {
      if (held.ended) continue;
      const ResidentParts parts = resident_of(snapshot.node().proc, pid, held.start_ticks);
      if (!limited || parts.anonymous_bytes <= memory.each_bytes)
        bytes += parts.anonymous_bytes + parts.shared_bytes;
    }
  }
  return limited ? std::min(bytes, memory.max_bytes) : bytes;
}

}  // namespace ctriage::collect
