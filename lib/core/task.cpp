#include "lib/core/task.h"

#include "lib/core/sys.h"

namespace ctriage {

Status Task::check() const {
  if (meter != nullptr && meter->shown) meter->shown(*meter);
  if (stop.load(std::memory_order_relaxed)) return Error{Errc::stopped, "asked to stop"};
  if (deadline_ns != INT64_MAX && sys::boottime_ns() >= deadline_ns) {
    return Error{Errc::timeout, "the deadline passed"};
  }
  return Done{};
}

}  // namespace ctriage
