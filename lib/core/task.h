#pragma once
// What a long task is handed. Sources and sinks look at stop and deadline, so parsers need not.
#include <atomic>
#include <cstdint>
#include <functional>

#include "lib/core/gap_log.h"
#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage {

// What has passed so far, for a progress line. One thread: who has workers counts for them.
struct Meter {
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;                // of a tree that is walked
  std::function<void(const Meter&)> shown;  // called from every Task::check(): it looks at the clock itself
};

struct Task {
  GapLog& gaps;
  const std::atomic<bool>& stop;         // set by a signal handler, installed without SA_RESTART
  std::function<Timestamp()> now;        // wall clock
  std::int64_t deadline_ns = INT64_MAX;  // CLOCK_BOOTTIME
  Meter* meter = nullptr;                // none: nobody watches

  // Errc::stopped or Errc::timeout when it is time to end, else done. Cheap enough to ask per block.
  [[nodiscard]] Status check() const;
  void passed(std::uint64_t bytes, std::uint64_t entries = 0) const {
    if (meter == nullptr) return;
    meter->bytes += bytes;
    meter->entries += entries;
  }
  // The same task with another log, for what is told elsewhere or once more.
  [[nodiscard]] Task with(GapLog& log) const { return {log, stop, now, deadline_ns, meter}; }
};

// Takes one whole artifact. An error (disk full, stopped, seen enough) ends the listing and is passed up
// unchanged.
template <class T>
using Emit = std::function<Status(T&&)>;

}  // namespace ctriage
