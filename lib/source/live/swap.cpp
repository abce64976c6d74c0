#include "lib/source/live/swap.h"

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"
#include "lib/source/live/cgroups.h"

namespace ctriage::source {
namespace {

constexpr std::uint64_t kMostPercent = 80;  // of the limit of a memory cgroup, with what is brought back

// VmSwap of proc_pid_status(5): of private memory; shared memory that is in swap is not counted there.
std::uint64_t swapped_bytes_of(const Root& proc, std::int32_t pid) {
  constexpr std::string_view kKey = "VmSwap:";
  const auto text = proc::read_text(proc, pid, "status");
  for (const std::string_view line : text ? split(*text, '\n') : std::vector<std::string_view>()) {
    if (!line.starts_with(kKey)) continue;
    const auto fields = split_fields(line.substr(kKey.size()));
    return fields.empty() ? 0 : parse_number<std::uint64_t>(fields.front()).value_or(0) << 10;
  }
  return 0;
}

}  // namespace

std::optional<Error> SwapRoom::forbids(std::int32_t pid, std::uint64_t swapped_bytes, Task& task) const {
  const auto too_much = [&](std::string why) {
    return Error{Errc::limit, human_size(swapped_bytes) + " in swap is left there: " + std::move(why) +
                                  "; --swap all takes it"};
  };
  if (swapped_bytes > left_bytes_)
    return too_much("no more than " + human_size(kMaxSwappedInBytes) + " is brought back in a run");
  if (swapped_bytes > available_bytes(node_.proc) / 4)
    return too_much("it is over a quarter of the node's available memory");
  for (const MemoryLimit& limit : memory_limits_of(node_, pid, task)) {
    const std::uint64_t most = limit.most_bytes / 100 * kMostPercent;
    if (limit.used_bytes > most || swapped_bytes > most - limit.used_bytes)
      return too_much("with it cgroup " + limit.cgroup + " would be over " + std::to_string(kMostPercent) +
                      " % of its limit of " + human_size(limit.most_bytes));
  }
  return std::nullopt;
}

bool SwapRoom::admits(std::int32_t pid, Task& task) {
  if (choice_ != SwapIn::automatic) return choice_ == SwapIn::all;
  const std::uint64_t swapped_bytes = swapped_bytes_of(node_.proc, pid);
  if (swapped_bytes == 0) return false;  // what is swapped out from now on was not asked about
  if (auto why = forbids(pid, swapped_bytes, task)) {
    task.gaps.add({Impact::note, "memory.swap", "pid " + std::to_string(pid), *std::move(why)});
    return false;
  }
  left_bytes_ -= swapped_bytes;
  return true;
}

}  // namespace ctriage::source
