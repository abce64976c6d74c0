#include "cmd/collect_many.h"

#include <algorithm>
#include <functional>
#include <memory>

#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/collect_many.h"
#include "lib/report/screen.h"
#include "lib/report/text.h"

namespace ctriage {
namespace {

// How many hold at once. Those that come later are held when one of these is done: descriptors, and memory
// for what is held, are shared.
constexpr std::size_t kHeldAtOnce = 8;
constexpr std::size_t kMaxMessage = 32 << 20;
constexpr std::int64_t kHoldNs = 60'000'000'000;     // what a target may take until it holds
constexpr std::int64_t kEndingNs = 120'000'000'000;  // and to its end after a stop

// What a child says: a letter, then text. "H", how it resolved and, behind a NUL, which containers these are,
// when it holds; "R" and its
// CollectedTarget, or PlanResult, as JSON; "F", the status as a digit and why, when there is none.
constexpr char kHolds = 'H';
constexpr char kResult = 'R';
constexpr char kFailed = 'F';

std::string share_text(const Share& share) {
  return std::to_string(share.deadline_ns) + " " + std::to_string(share.bytes) + " " +
         std::to_string(share.after);
}

Result<Share> parse_share(std::string_view text) {
  const auto fields = split(text, ' ');
  if (fields.size() != 3) return Error{Errc::malformed, "the supervisor said nonsense"};
  Share share;
  share.deadline_ns = parse_number<std::int64_t>(fields[0]).value_or(0);
  share.bytes = parse_number<std::uint64_t>(fields[1]).value_or(0);
  share.after = parse_number<std::uint64_t>(fields[2]).value_or(0);
  return share;
}

// So that it fits a message: the worst stay, all are in the bundle's gaps.jsonl.
void shorten_gaps(CollectedTarget& target) {
  constexpr std::size_t kMost = 1'000;
  constexpr std::size_t kMostOfText = 1 << 10;  // six times as much as JSON
  std::vector<GapRecord>& gaps = target.bundle->gaps;
  for (GapRecord& gap : gaps) {
    for (Bytes* text : {&gap.origin, &gap.reason}) {
      if (text->raw.size() > kMostOfText) text->raw.resize(kMostOfText);
    }
  }
  if (gaps.size() <= kMost) return;
  std::ranges::stable_sort(gaps, std::greater<>(), &GapRecord::impact);
  GapRecord rest;
  rest.impact = Impact::note;
  rest.artifact = "gaps";
  rest.origin = target.target;
  rest.code = Errc::limit;
  rest.reason = Bytes(with_commas(gaps.size() - kMost) + " more are in the bundle's gaps.jsonl only");
  gaps.resize(kMost);
  gaps.push_back(std::move(rest));
}

// Which containers: names may be equal.
std::string identity_of(const source::LiveSnapshot& snapshot, const std::string& token) {
  if (snapshot.containers().empty()) return "ended " + token;
  std::string identity;
  for (const source::LiveContainer& live : snapshot.containers()) {
    const Container& container = live.container;
    identity += container.engine + " " + container.engine_namespace.raw + " " + container.id + " " +
                std::to_string(container.init_pid) + " " + std::to_string(container.init_start_ticks);
    for (const auto& [pid, process] : live.processes) {
      if (live.alone) identity += " " + std::to_string(pid) + " " + std::to_string(process.start_ticks);
    }
    identity += '\n';
  }
  return identity;
}

struct Said {
  char kind = kFailed;
  std::string text;
};

class Supervisor {
 public:
  Supervisor(const ManyTargets& many, const source::Targets& targets, Io& io)
      : many_(many), targets_(targets), io_(io), members_(targets.targets.size()) {}

  // Each target's last word, in turn.
  void run(const std::function<void(std::size_t index, const std::string& name, const Said& said)>& each) {
    const std::size_t count = members_.size();
    deadline_ns_ =
        many_.wanted.deadline_s ? sys::boottime_ns() + *many_.wanted.deadline_s * 1'000'000'000 : INT64_MAX;
    bytes_ = many_.wanted.max_bytes;
    const std::size_t ahead = many_.arguments.plan ? 1 : std::min(count, kHeldAtOnce);
    for (std::size_t i = 0; i < ahead; ++i) hold(i, ahead);
    if (told_) told_();
    for (std::size_t i = 0; i < count; ++i) {
      Member& member = members_[i];
      if (member.child && !io_.stop && !member.said) take(i);
      if (!member.said) member.said = Said{kFailed, "3" + std::string("stopped before its turn")};
      if (member.child) {
        // Whoever waits for a turn that does not come ends by itself: its channel is closed.
        const auto status = member.child->wait();
        if (!status && member.said->kind == kFailed) member.said->text = "1" + status.error().what;
        member.child.reset();
      }
      each(i, member.name, *member.said);
      if (i + ahead < count && !io_.stop) hold(i + ahead, ahead);
    }
  }
  // Called when the first hold.
  void when_held(std::function<void()> told) { told_ = std::move(told); }
  [[nodiscard]] std::size_t holding() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(members_, [](const Member& member) { return member.child && !member.said; }));
  }
  void used(std::uint64_t bytes) {
    if (bytes_ != UINT64_MAX) bytes_ -= std::min(bytes_, bytes);
  }

 private:
  struct Member {
    std::unique_ptr<Child> child;
    std::string name;
    std::string identity;  // of what it holds
    std::optional<Said> said;
  };

  void hold(std::size_t index, std::size_t share) {
    Member& member = members_[index];
    member.name = targets_.targets[index].name;
    if (io_.stop) return;
    std::vector<Child*> siblings;
    for (const Member& other : members_) {
      if (other.child) siblings.push_back(other.child.get());
    }
    auto child =
        Child::start([&](Channel& parent) { return work(targets_.targets[index].query, share, parent); },
                     io_.on_stop, siblings);
    if (!child) {
      member.said = Said{kFailed, "1" + child.error().what};
      return;
    }
    member.child = std::make_unique<Child>(*std::move(child));
    if (many_.arguments.plan) return;
    Said said = next_of(member, std::min(deadline_ns_, sys::boottime_ns() + kHoldNs));
    if (said.kind != kHolds) {
      member.said = std::move(said);
      return;
    }
    const std::size_t end = std::min(said.text.find('\0'), said.text.size());
    member.name = said.text.substr(0, end);
    member.identity = said.text.substr(end);
    for (std::size_t i = 0; i < index; ++i) {
      if (members_[i].identity != member.identity) continue;
      member.said = Said{kFailed, "0is target " + std::to_string(i + 1) + " again, which is taken once"};
      member.child->channel().close();
    }
  }

  void take(std::size_t index) {
    Member& member = members_[index];
    const Share share{deadline_ns_, bytes_, members_.size() - index - 1};
    if (!many_.arguments.plan) (void)member.child->channel().send(share_text(share)).has_value();
    member.said = next_of(member, INT64_MAX);
  }

  // A stop is passed on, once; what the child then has is still its answer.
  Said next_of(Member& member, std::int64_t until_ns) {
    auto message = member.child->channel().receive(kMaxMessage, io_.stop, until_ns);
    if (!message && message.error().code == Errc::stopped) {
      member.child->stop();
      const std::atomic<bool> never{false};
      message = member.child->channel().receive(kMaxMessage, never, sys::boottime_ns() + kEndingNs);
      // It held meanwhile: it is not asked for more.
      if (message && *message && !(*message)->empty() && (*message)->front() == kHolds)
        return {kFailed, "3stopped before its turn"};
    }
    const char status = io_.stop ? '3' : '1';
    if (!message && message.error().code == Errc::timeout) {  // stuck, and the others are not to wait for it
      member.child->abandon();
      member.child.reset();
      return {kFailed,
              "3" + std::string("it did not answer in time and was given up: a file system that does "
                                "not answer?")};
    }
    if (!message) return {kFailed, status + message.error().what};
    if (!*message || (*message)->empty())
      return {kFailed, status + std::string("its process ended before it said anything")};
    return {(*message)->front(), (*message)->substr(1)};
  }

  // In the child.
  int work(const source::TargetQuery& query, std::size_t hold_share, Channel& parent) const {
    Io quiet = io_;
    const bool loud = many_.common.verbose && !many_.common.quiet;
    if (!loud) quiet.out = [](std::string_view) -> Status { return Done{}; };
    if (!loud) quiet.err = [](std::string_view) {};
    OneTarget one{many_.arguments, many_.wanted, many_.common, query, hold_share, nullptr};
    if (many_.arguments.plan) {
      GapLog gaps;
      auto plan = plan_one(one, gaps, quiet);
      if (!plan) return failed(plan.error(), parent);
      plan->gaps = report::records_of(gaps.kept(), sys::realtime());
      (void)parent.send(kResult + to_json(*plan)).has_value();
      return static_cast<int>(gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete);
    }
    std::string name = query.token;
    one.turn = [&](source::LiveSnapshot& snapshot) -> Result<Share> {
      name = snapshot.name();
      if (auto told = parent.send(kHolds + name + '\0' + identity_of(snapshot, query.token)); !told)
        return std::move(told).error();
      auto answer = parent.receive(kMaxMessage, io_.stop);
      if (!answer) return std::move(answer).error();
      if (!*answer) return Error{Errc::stopped, "stopped before its turn"};
      return parse_share(**answer);
    };
    auto taken = collect_one(one, quiet);
    io_.err("");  // the progress line goes
    if (!taken) return failed(taken.error(), parent);
    CollectedTarget target;
    target.target = Bytes(name);
    target.exit_status = static_cast<std::int32_t>(taken->exit);
    target.critical = taken->critical;
    target.high = taken->high;
    target.bundle = std::move(taken->result);
    shorten_gaps(target);
    (void)parent.send(kResult + to_json(target)).has_value();
    return target.exit_status;
  }

  static int failed(const Error& error, Channel& parent) {
    const bool ended = error.code == Errc::stopped || error.code == Errc::timeout;
    const Exit exit = ended ? Exit::lost : Exit::failed;
    (void)parent.send(kFailed + std::to_string(static_cast<int>(exit)) + error.what).has_value();
    return static_cast<int>(exit);
  }

  const ManyTargets& many_;
  const source::Targets& targets_;
  Io& io_;
  std::vector<Member> members_;
  std::function<void()> told_;
  std::int64_t deadline_ns_ = INT64_MAX;
  std::uint64_t bytes_ = UINT64_MAX;
};

CollectedTarget result_in(const std::string& name, const Said& said) {
  CollectedTarget target;
  target.exit_status = static_cast<std::int32_t>(Exit::failed);
  if (said.kind == kResult) {
    auto parsed = parse_artifact<CollectedTarget>(said.text);
    if (parsed) return *std::move(parsed);
    target.error = Bytes(parsed.error().what);
  } else {
    if (said.text.starts_with('3')) target.exit_status = static_cast<std::int32_t>(Exit::lost);
    if (said.text.starts_with('0')) target.exit_status = static_cast<std::int32_t>(Exit::complete);
    target.error = Bytes(said.text.substr(said.text.empty() ? 0 : 1));
  }
  target.target = Bytes(name);
  return target;
}

Exit plan_many(const ManyTargets& many, const source::Targets& targets, const GapLog& gaps, Io& io) {
  PlanManyResult result;
  result.gaps = report::records_of(gaps.kept(), sys::realtime());
  for (const std::string& left : targets.left_out) result.left_out.emplace_back(left);
  Exit exit = gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
  Supervisor supervisor(many, targets, io);
  supervisor.run([&](std::size_t, const std::string& name, const Said& said) {
    auto plan = said.kind == kResult
                    ? parse_artifact<PlanResult>(said.text)
                    : Result<PlanResult>(Error{Errc::not_found, result_in(name, said).error->raw});
    if (plan) {
      const bool lost =
          std::ranges::any_of(plan->gaps, [](const GapRecord& gap) { return gap.impact == Impact::lost; });
      exit = worse(exit, lost ? Exit::lost : Exit::complete);
      result.seconds += plan->seconds;
      result.plans.push_back(*std::move(plan));
    } else {
      exit = worse(exit, static_cast<Exit>(result_in(name, said).exit_status));
      io.err("ctriage: " + escape_terminal(name + ": " + plan.error().what) + "\n");
      result.gaps.push_back(report::record_of({Impact::lost, "target", name, plan.error()}, sys::realtime()));
    }
  });
  const bool text = many.common.output_format() == report::Format::text;
  auto written = io.out(text ? report::plan_many_text(result, io.out_style) : report::plan_many_json(result));
  if (text) {
    report::GapTally tally;
    for (const GapRecord& gap : result.gaps) tally.add(gap);
    for (const PlanResult& plan : result.plans) {
      for (const GapRecord& gap : plan.gaps) tally.add(gap);
    }
    if (tally.total() > 0) io.err(report::gaps_block(tally, many.common.verbose, io.err_style));
  }
  return written ? exit : fail(io, written.error());
}

}  // namespace

Exit collect_many(const ManyTargets& many, const source::Targets& targets, const GapLog& gaps, Io& io) {
  if (many.arguments.plan) return plan_many(many, targets, gaps, io);
  if (auto there = Root::open(many.arguments.output); !there)
    return fail(io, std::move(there).error().within("-o"));
  const bool text = many.common.output_format() == report::Format::text;
  const auto say = [&](const std::string& line) {
    if (text) {
      (void)io.out(line);
    } else if (!many.common.quiet) {
      io.err(line);
    }
  };
  const report::Style& style = text ? io.out_style : io.err_style;
  const report::Screen screen([&](std::string_view line) { say(std::string(line)); }, style);
  const std::int64_t began_ns = sys::boottime_ns();
  const std::size_t count = targets.targets.size();
  CollectManyResult result;
  result.gaps = report::records_of(gaps.kept(), sys::realtime());
  for (const std::string& left : targets.left_out) result.left_out.emplace_back(left);
  Exit exit = gaps.count(Impact::lost) > 0 ? Exit::lost : Exit::complete;
  screen.line("targets", counted(count, "target", "targets") + ", a bundle for each, into " +
                             many.arguments.output + ", one after the other");
  if (many.arguments.all_pods && !many.arguments.memory_typed)
    screen.line("takes", "all but memory (--all-pods; take it: --memory auto)");
  Supervisor supervisor(many, targets, io);
  supervisor.when_held([&] {
    const std::size_t holding = supervisor.holding();
    std::string held = std::to_string(holding) + " of " + counted(count, "target is", "targets are") +
                       " held open now and outlive their containers";
    if (count > kHeldAtOnce) held += "; each other when one of these is done";
    screen.line("held", held, report::clock_text(sys::realtime()));
  });
  supervisor.run([&](std::size_t index, const std::string& name, const Said& said) {
    CollectedTarget taken = result_in(name, said);
    exit = worse(exit, static_cast<Exit>(taken.exit_status));
    if (taken.bundle) {
      result.size_bytes += taken.bundle->size_bytes;
      supervisor.used(taken.bundle->size_bytes);
    }
    say(report::taken_line(index + 1, count, taken));
    if (taken.error && taken.exit_status != static_cast<std::int32_t>(Exit::complete))
      result.gaps.push_back(report::record_of(
          {Impact::lost, "target", name, {Errc::vanished, taken.error->raw}}, sys::realtime()));
    result.bundles.push_back(std::move(taken));
  });
  if (io.stop) exit = worse(exit, Exit::lost);
  result.exit_status = static_cast<std::int32_t>(exit);
  // Exit::findings says nothing of what was lost. A target without a bundle that should have one is a gap.
  result.complete =
      std::ranges::all_of(
          result.bundles,
          [](const CollectedTarget& taken) { return !taken.bundle || taken.bundle->complete; }) &&
      std::ranges::none_of(result.gaps, [](const GapRecord& gap) { return gap.impact == Impact::lost; });
  result.took_ns = sys::boottime_ns() - began_ns;
  say(report::collect_many_text(result, many.common.verbose, style));
  if (text) return exit;
  auto written = io.out(report::collect_many_json(result));
  return written ? exit : fail(io, written.error());
}

}  // namespace ctriage
