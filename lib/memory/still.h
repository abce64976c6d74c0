#pragma once
// A target that stands still while its memory is read: SEMANTICS.md, "Freeze". Not for other modules but
// FreezeMode and the limits.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/task.h"
#include "lib/core/unique_fd.h"
#include "lib/proc/freezer.h"
#include "lib/proc/reader.h"

namespace ctriage::memory {

enum class FreezeMode : std::uint8_t {
  automatic,  // by the cgroup of the container, where that takes kShortFreezeNs at most
  cgroup,     // by its cgroup, up to the ceiling
  none,
  stop,  // SIGSTOP to the process alone, up to the ceiling
};
constexpr auto enum_names(FreezeMode) {
  return std::array<std::string_view, 4>{"auto", "cgroup", "none", "stop"};
}

constexpr std::int64_t kShortFreezeNs = 250'000'000;
constexpr std::int64_t kMostFreezeNs = 2'000'000'000;  // leader election and probes fail beyond
// What is copied in a second, for the estimate: a third of what one core here does.
constexpr std::uint64_t kCopiedPerSecond = std::uint64_t{2} << 30;

class Still {
 public:
  // Waits until all of it stands. Errc::timeout where something of it does not; it runs again then. Where it
  // stood before nothing is done to it, now and at the end.
  static Result<Still> begin(const proc::Freezer& freezer, proc::Readers& readers, std::int64_t most_ns,
                             const Task& task);
  Still(Still&& other) noexcept;
  Still& operator=(Still&&) = delete;
  ~Still();  // lets go

  // Time to let go: what is read from here on may not be of the same moment.
  [[nodiscard]] bool is_over() const;

  struct End {
    std::int64_t frozen_ns = 0;     // by us; where something else let it go that much at most
    std::optional<Error> not_held;  // why it was not still to the end
  };
  End end();

 private:
  Still(const proc::Freezer& freezer, proc::Readers& readers, const Task& task)
      : freezer_(&freezer), readers_(&readers), task_(&task) {}

  const proc::Freezer* freezer_;
  proc::Readers* readers_;
  const Task* task_;
  UniqueFd switch_;  // none: it was found frozen, or runs again
  bool ended_ = false;
  std::int64_t began_ns_ = 0;
  std::int64_t over_ns_ = 0;
  std::int64_t most_ns_ = 0;
};

}  // namespace ctriage::memory
