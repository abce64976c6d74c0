#pragma once
// What a long task is handed. Sources and sinks look at stop and deadline, so parsers need not.
#include <atomic>
#include <cstdint>
#include <functional>

#include "lib/core/gap_log.h"
#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage {

struct Task {
  GapLog& gaps;
  const std::atomic<bool>& stop;         // set by a signal handler, installed without SA_RESTART
  std::function<Timestamp()> now;        // wall clock
  std::int64_t deadline_ns = INT64_MAX;  // CLOCK_BOOTTIME

  // Errc::stopped or Errc::timeout when it is time to end, else done. Cheap enough to ask per block.
  [[nodiscard]] Status check() const;
};

// Takes one whole artifact. An error (disk full, stopped, seen enough) ends the listing and is passed up
// unchanged.
template <class T>
using Emit = std::function<Status(T&&)>;

}  // namespace ctriage
