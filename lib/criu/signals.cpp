// Signals and timers of a task: sa.proto, timer.proto of CRIU 4.2.
#include "lib/core/limits.h"
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

// A time that does not fit stays at the end of what does.
std::uint64_t nanoseconds(std::uint64_t seconds, std::uint64_t rest, std::uint64_t unit_ns) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  if (seconds > UINT64_MAX / kSecondNs - 1 || rest > kSecondNs / unit_ns) return UINT64_MAX;
  return seconds * kSecondNs + rest * unit_ns;
}

}  // namespace

// CRIU writes one for each signal but SIGKILL and SIGSTOP, in their order: prepare_sigactions_from_core().
Result<SignalAction> parse_signal_action(std::string_view message, std::size_t index) {
  constexpr std::size_t kKill = 9;
  constexpr std::size_t kStop = 19;
  constexpr std::size_t kSignals = 64;
  std::size_t signal = index + 1;
  if (signal >= kKill) ++signal;
  if (signal >= kStop) ++signal;
  if (signal > kSignals) return Error{Errc::limit, "sa_entry: over 62 of them"};
  SignalAction action;
  action.signal = static_cast<std::uint32_t>(signal);
  Message in(message);
  while (in.next()) {
    in.take(1, action.handler);
    in.take(2, action.flags);
  }
  return whole(in, action, "sa_entry");
}

Result<IntervalTimer> parse_interval_timer(std::string_view message) {
  constexpr std::uint64_t kMicrosecondNs = 1'000;
  std::array<std::uint64_t, 4> parts{};
  Message in(message);
  while (in.next()) {
    for (std::uint32_t i = 0; i < parts.size(); ++i) in.take(i + 1, parts.at(i));
  }
  return whole(in,
               IntervalTimer{nanoseconds(parts[0], parts[1], kMicrosecondNs),
                             nanoseconds(parts[2], parts[3], kMicrosecondNs)},
               "itimer_entry");
}

Result<PosixTimer> parse_posix_timer(std::string_view message) {
  PosixTimer timer;
  std::array<std::uint64_t, 4> parts{};
  Message in(message);
  while (in.next()) {
    in.take(1, timer.id);
    in.take(2, timer.clock);
    in.take(3, timer.signal);
    in.take(4, timer.notify);
    for (std::uint32_t i = 0; i < parts.size(); ++i) in.take(i + 7, parts.at(i));
    in.take(11, timer.tid);
  }
  timer.interval_ns = nanoseconds(parts[0], parts[1], 1);
  timer.remaining_ns = nanoseconds(parts[2], parts[3], 1);
  return whole(in, timer, "posix_timer_entry");
}

Result<Timers> parse_timers(std::string_view message) {
  Timers timers;
  Message in(message);
  while (in.next()) {
    const std::uint32_t field = in.field();
    if (field >= 1 && field <= timers.interval.size()) {
      auto timer = parse_interval_timer(in.bytes());
      if (!timer) return std::move(timer).error();
      timers.interval.at(field - 1) = *timer;
    } else if (field == 4) {
      if (timers.posix.size() >= kMaxCriuTimers)
        return Error{Errc::limit, "over " + std::to_string(kMaxCriuTimers) + " timers"};
      auto timer = parse_posix_timer(in.bytes());
      if (!timer) return std::move(timer).error();
      timers.posix.push_back(*timer);
    }
  }
  return whole(in, std::move(timers), "task_timers_entry");
}

}  // namespace ctriage::criu
