#include "lib/memory/still.h"

#include <algorithm>
#include <utility>

#include "lib/core/sys.h"

namespace ctriage::memory {
namespace {

constexpr std::int64_t kMostWaitNs =
    500'000'000;  // until all of it stands: a task in the kernel's hands does not
constexpr std::int64_t kPauseNs = 200'000;

Error not_stopped(std::int64_t waited_ns) {
  return Error{Errc::timeout, "some of it did not stop in " + std::to_string(waited_ns / 1'000'000) +
                                  " ms (waits in the kernel): let go again"};
}

}  // namespace

Result<Still> Still::begin(const proc::Freezer& freezer, proc::Readers& readers, std::int64_t most_ns,
                           const Task& task) {
  Still still(freezer, readers, task);
  const auto before = freezer.is_frozen();
  if (!before) return before.error();
  still.began_ns_ = sys::boottime_ns();
  still.over_ns_ = INT64_MAX;
  if (*before) return still;
  auto opened = freezer.open_switch();
  if (!opened) return std::move(opened).error();
  still.switch_ = *std::move(opened);
  // The watchdog's time ends a little later than ours: whether it stood to the end is looked at before.
  still.over_ns_ = still.began_ns_ + most_ns - most_ns / 16;
  still.most_ns_ = most_ns;
  if (auto stopped = readers.stop_target(still.switch_.get(), freezer.kind(), most_ns, task); !stopped) {
    still.end();
    return std::move(stopped).error();
  }
  const std::int64_t wait_ns = std::min(kMostWaitNs, most_ns / 2);
  for (;;) {
    const auto stands = freezer.is_frozen();
    if (!stands) return stands.error();
    if (*stands) return still;
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    if (sys::boottime_ns() - still.began_ns_ >= wait_ns) return not_stopped(wait_ns);
    sys::sleep_ns(kPauseNs);
  }
}

Still::Still(Still&& other) noexcept
    : freezer_(other.freezer_),
      readers_(other.readers_),
      task_(other.task_),
      switch_(std::move(other.switch_)),
      ended_(std::exchange(other.ended_, true)),
      began_ns_(other.began_ns_),
      over_ns_(other.over_ns_),
      most_ns_(other.most_ns_) {}

Still::~Still() {
  if (!ended_) end();
}

bool Still::is_over() const { return sys::boottime_ns() >= over_ns_; }

Still::End Still::end() {
  End end;
  ended_ = true;
  const auto stands = freezer_->is_frozen();
  if (!stands) {
    end.not_held = stands.error();
  } else if (!*stands) {
    end.not_held = Error{Errc::changed, "something else let it go on while it was read"};
  }
  if (!switch_) return end;
  const auto let_go = readers_->let_go(*task_);
  if (!let_go) {  // the watchdog is gone or stuck: nobody else does it
    auto done = proc::throw_switch(switch_.get(), freezer_->kind(), false);
    if (!done) end.not_held = std::move(done).error().within("IT MAY STAND STILL");
  } else if (!*let_go) {
    end.not_held = Error{Errc::timeout, "its time was over before it was read"};
  }
  switch_.reset();
  end.frozen_ns = std::min(sys::boottime_ns() - began_ns_, let_go && !*let_go ? most_ns_ : INT64_MAX);
  return end;
}

}  // namespace ctriage::memory
