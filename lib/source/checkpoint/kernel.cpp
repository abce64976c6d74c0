// What the kernel keeps for the tasks of a checkpoint beside memory and files: signals, timers, system call
// filters; and what descriptors watch.
#include <algorithm>
#include <array>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/criu/seccomp.h"
#include "lib/source/checkpoint/tasks.h"

namespace ctriage::source {
namespace {

using criu::FileKind;

constexpr std::size_t kMaxFilterNumbers = 1 << 18;  // of all threads
constexpr std::uint64_t kDefault = 0;               // SIG_DFL
constexpr std::uint64_t kIgnore = 1;                // SIG_IGN

std::string joined(const std::vector<std::string>& actions) {
  std::string text;
  for (const std::string& action : actions) text += (text.empty() ? "" : " or ") + action;
  return text;
}

// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
std::vector<std::string> flags_of(std::uint32_t flags) {
  constexpr std::array<std::string_view, 6> kNames{"TSYNC",        "LOG",         "SPEC_ALLOW",
                                                   "NEW_LISTENER", "TSYNC_ESRCH", "WAIT_KILLABLE_RECV"};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if ((flags >> i & 1U) != 0) names.emplace_back(kNames.at(i));
  }
  return names;
}

// signal(7) SIGEV_*: 0 signal, 1 none, 2 thread, 4 a thread of the process.
std::string notify_text(std::uint32_t notify) {
  if (notify == 1) return "none";
  return notify == 2 ? "thread" : "signal";
}

Timer timer_of(const criu::PosixTimer& timer) {
  Timer made;
  made.kind = "posix";
  made.id = static_cast<std::int32_t>(timer.id);
  made.clock = static_cast<std::int32_t>(timer.clock);
  made.signal = timer.signal;
  made.notify = notify_text(timer.notify);
  if (timer.tid && *timer.tid > 0) made.tid = timer.tid;
  made.interval_ns = timer.interval_ns;
  made.remaining_ns = timer.remaining_ns;
  return made;
}

// Groups of calls, most first; of the filter's answers.
void take_answers(const criu::SeccompAnswers& answers, SeccompFilter& into) {
  into.otherwise = joined(answers.otherwise);
  into.other_machines = joined(answers.other_machine);
  for (const criu::SeccompAnswers::Group& group : answers.groups) {
    SeccompRule& rule = into.rules.emplace_back();
    rule.action = joined(group.actions);
    rule.by_arguments = group.actions.size() > 1;
    rule.syscalls.assign(group.calls.begin(), group.calls.end());
  }
  std::ranges::stable_sort(into.rules, std::ranges::greater{},
                           [](const SeccompRule& rule) { return rule.syscalls.size(); });
}

}  // namespace

// Images of CRIU before 2.0.
void CheckpointTasks::read_old_signals(std::uint32_t pid, criu::Core& into, const Task& task) {
  const std::string number = "-" + std::to_string(pid) + ".img";
  const auto action = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto read = criu::parse_signal_action(message, into.actions.size());
    if (!read) return read.error();
    into.actions.push_back(*read);
    return Done{};
  };
  if (into.actions.empty()) each_entry("sigacts" + number, criu::Kind::sigacts, action, task);
  std::size_t count = 0;
  const auto interval = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto read = criu::parse_interval_timer(message);
    if (!read) return read.error();
    if (count >= into.timers.interval.size()) return Error{Errc::limit, "over 3 interval timers"};
    into.timers.interval.at(count++) = *read;
    return Done{};
  };
  each_entry("itimers" + number, criu::Kind::itimers, interval, task);
  const auto posix = [&](std::string_view message, criu::ImageReader&) -> Status {
    const auto read = criu::parse_posix_timer(message);
    if (!read) return read.error();
    if (into.timers.posix.size() >= timer_room_)
      return Error{Errc::limit, "over " + std::to_string(kMaxCriuTimers) + " timers"};
    into.timers.posix.push_back(*read);
    return Done{};
  };
  each_entry("posix-timers" + number, criu::Kind::posix_timers, posix, task);
}

void CheckpointTasks::take_signals(const criu::Core& core, Process& into, const Task& task) {
  if (!core.actions.empty()) {
    Signals& signals = into.signals.emplace();
    signals.blocked = Hex{core.blocked_signals};
    for (const criu::SignalAction& action : core.actions) {
      const std::uint64_t bit = std::uint64_t{1} << (action.signal - 1);
      if (action.handler == kDefault) continue;
      (action.handler == kIgnore ? signals.ignored : signals.caught).value |= bit;
      if (action.handler != kIgnore)
        signals.handlers.push_back({action.signal, Hex{action.handler}, Hex{action.flags}});
    }
  }
  struct Kind {
    std::string_view name;
    std::uint32_t signal;
  };
  constexpr std::array<Kind, 3> kKinds{{{"real", 14}, {"virtual", 26}, {"prof", 27}}};
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    const criu::IntervalTimer& timer = core.timers.interval.at(i);
    if (timer.interval_ns == 0 && timer.remaining_ns == 0) continue;
    Timer made;
    made.kind = kKinds.at(i).name;
    made.signal = kKinds.at(i).signal;
    made.interval_ns = timer.interval_ns;
    made.remaining_ns = timer.remaining_ns;
    into.timers.push_back(std::move(made));
  }
  const std::size_t kept = std::min(timer_room_, core.timers.posix.size());
  for (std::size_t i = 0; i < kept; ++i) into.timers.push_back(timer_of(core.timers.posix[i]));
  timer_room_ -= kept;
  if (kept < core.timers.posix.size())
    lose("core-" + std::to_string(into.pid) + ".img",
         {Errc::limit, "over " + std::to_string(kMaxCriuTimers) + " timers: the first are kept"}, task);
}

// The last that was set first. A hostile image may have a chain that goes round.
std::vector<std::uint32_t> CheckpointTasks::chain_of(std::uint32_t filter) const {
  std::vector<std::uint32_t> chain;
  std::optional<std::uint32_t> next = filter;
  while (next && *next < filters.size() && chain.size() < filters.size()) {
    chain.push_back(*next);
    next = filters[*next].previous;
  }
  return chain;
}

// Where all threads of a process have the same, CRIU keeps only those of the first and marks them with TSYNC:
// try_use_tsync() of criu/seccomp.c.
void CheckpointTasks::share_filters() {
  std::map<std::int32_t, std::uint32_t> shared;  // by process
  for (const Thread& thread : threads) {
    if (thread.tid != thread.pid || thread.seccomp_filters.empty()) continue;
    const std::uint32_t last = thread.seccomp_filters.front();
    if (last < filters.size() && std::ranges::find(filters[last].flags, "TSYNC") != filters[last].flags.end())
      shared[thread.pid] = last;
  }
  for (Thread& thread : threads) {
    const auto found = shared.find(thread.pid);
    if (thread.seccomp_filters.empty() && found != shared.end()) thread.seccomp_filters = {found->second};
  }
}

// seccomp.img, and which of its filters each thread has.
void CheckpointTasks::read_filters(const Task& task) {
  const std::string name = "seccomp.img";
  const bool wanted =
      std::ranges::any_of(threads, [](const Thread& t) { return !t.seccomp_filters.empty(); });
  if (!has(name)) {
    if (wanted)
      lose(name, {Errc::not_found, "no such image: what the seccomp filters say is not known"}, task);
    return;
  }
  const auto text = image(name, task);
  if (!text) return;
  auto entries = criu::parse_seccomp(*text);
  if (!entries) return lose(name, std::move(entries).error(), task);
  std::size_t steps = kMaxSeccompSteps;
  std::size_t room = kMaxSeccompInstructions;
  const auto weaker = [&](std::uint32_t number, Error error) {
    task.gaps.add({Impact::degraded, "checkpoint.seccomp", store_.name() + "!" + dir_ + name,
                   std::move(error).within("filter " + std::to_string(number))});
  };
  for (const criu::SeccompEntry& entry : *entries) {
    SeccompFilter& filter = filters.emplace_back();
    filter.number = static_cast<std::uint32_t>(filters.size() - 1);
    filter.previous = entry.previous;
    filter.flags = flags_of(entry.flags);
    auto program = criu::parse_bpf(entry.program);
    if (program && program->size() > room)
      program = Error{Errc::limit, "over " + with_commas(kMaxSeccompInstructions) + " instructions in all"};
    if (!program) {
      weaker(filter.number, std::move(program).error());
      continue;
    }
    room -= program->size();
    filter.instructions = static_cast<std::uint32_t>(program->size());
    filter.listing = criu::list_bpf(*program, machine_);
    auto answers = criu::answers_of(*program, machine_, steps);
    if (answers) take_answers(*answers, filter);
    if (!answers) weaker(filter.number, std::move(answers).error());
  }
  share_filters();
  std::map<std::int32_t, std::uint32_t> counts;  // by process, of its first thread
  std::size_t chain_room = kMaxFilterNumbers;
  for (Thread& thread : threads) {
    if (thread.seccomp_filters.empty()) continue;
    const std::uint32_t last = thread.seccomp_filters.front();
    auto chain = chain_of(last);
    if (thread.tid == thread.pid) counts[thread.pid] = static_cast<std::uint32_t>(chain.size());
    if (chain.empty())
      weaker(last,
             {Errc::not_found, "thread " + std::to_string(thread.tid) + " has it, and it is not there"});
    if (chain.size() > chain_room) {
      weaker(last, {Errc::limit, "thread " + std::to_string(thread.tid) + ": only its last filter is named"});
      continue;
    }
    chain_room -= chain.size();
    thread.seccomp_filters = std::move(chain);
  }
  for (Process& process : processes) {
    const auto found = counts.find(process.pid);
    if (found != counts.end()) process.seccomp_filters = found->second;
  }
}

// What CRIU before 2.0 wrote beside inotify, fanotify and eventpoll.
void CheckpointTasks::read_old_watches(const Task& task) {
  struct Old {
    std::string name;
    criu::Kind kind;
    FileKind of;
  };
  const std::array<Old, 3> images{{{"inotify-wd.img", criu::Kind::inotify_wd, FileKind::inotify},
                                   {"fanotify-mark.img", criu::Kind::fanotify_mark, FileKind::fanotify},
                                   {"eventpoll-tfd.img", criu::Kind::eventpoll_tfd, FileKind::eventpoll}}};
  for (const Old& old : images) {
    const auto one = [&](std::string_view message, criu::ImageReader&) -> Status {
      auto watch = criu::parse_watch(old.of, message);
      if (!watch) return std::move(watch).error();
      const auto owner = files_.find({old.of, watch->owner});
      if (owner == files_.end()) return Done{};
      if (watch_room_ == 0) return Error{Errc::limit, "over " + std::to_string(kMaxCriuWatches) + " watches"};
      --watch_room_;
      auto& detail = owner->second.detail;
      if (detail == nullptr) detail = std::make_shared<criu::FileDetail>();
      detail->watches.push_back(*std::move(watch));
      return Done{};
    };
    each_entry(old.name, old.kind, one, task);
  }
}

void CheckpointTasks::add_detail(const criu::FileEntry& entry, Descriptor& into) const {
  if (entry.detail == nullptr) return;
  if (entry.kind == FileKind::bpf_map) {
    const criu::BpfMapEntry& map = entry.detail->map;
    into.bpf_map = BpfMap{map.type, map.key_bytes, map.value_bytes, map.max_entries, map.id, map.frozen};
  }
  for (const criu::WatchEntry& watch : entry.detail->watches) {
    Watch& made = into.watches.emplace_back();
    made.kind = entry.kind == FileKind::inotify    ? "inotify"
                : entry.kind == FileKind::fanotify ? "fanotify"
                                                   : "epoll";
    made.path = Bytes(watch.path);
    if (watch.fd) made.fd = static_cast<std::int32_t>(*watch.fd);
    made.events = Hex{watch.events};
    made.inode = Hex{watch.inode};
    made.device = device_of(watch.device);
    if (!watch.mount) continue;
    made.kind += " mount";
    const auto mount = std::ranges::find(mounts, *watch.mount, &Mount::id);
    if (mount != mounts.end()) made.path = mount->mountpoint;
  }
}

}  // namespace ctriage::source
