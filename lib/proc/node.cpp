// What a procfs says of the whole node: its processes and when it booted.
#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {

// proc_stat(5): "btime 1763757531". USER_HZ, the unit of what /proc calls clock ticks, is 100 on every
// architecture that runs containers (include/asm-generic/param.h; only alpha and ia64 differed).
Result<Clock> read_clock(const Root& proc) {
  auto text = proc.read_file_in_root("stat", kMaxProcTextBytes);
  if (!text) return std::move(text).error();
  Clock clock;
  bool found = false;
  each_whole_line(*text, [&](std::string_view line) {
    if (found || !line.starts_with("btime ")) return;
    const auto seconds = parse_number<std::int64_t>(line.substr(6));
    if (!seconds) return;
    clock.booted_at.seconds = *seconds;
    found = true;
  });
  if (!found) return Error{Errc::malformed, proc.name() + "/stat: no btime"};
  return clock;
}

Timestamp time_of_ticks(const Clock& clock, std::uint64_t ticks) {
  constexpr std::uint64_t kNanoseconds = 1'000'000'000;
  if (clock.ticks_per_second == 0) return clock.booted_at;
  Timestamp at = clock.booted_at;
  at.seconds += static_cast<std::int64_t>(ticks / clock.ticks_per_second);
  const std::uint64_t nanoseconds =
      at.nanoseconds + ticks % clock.ticks_per_second * (kNanoseconds / clock.ticks_per_second);
  at.seconds += static_cast<std::int64_t>(nanoseconds / kNanoseconds);
  at.nanoseconds = static_cast<std::uint32_t>(nanoseconds % kNanoseconds);
  return at;
}

Result<std::vector<std::int32_t>> list_numbers(const Root& directory) {
  std::vector<std::int32_t> found;
  std::string after;
  for (bool more = true; more;) {
    auto block = list_names(directory, after);
    if (!block) return std::move(block).error();
    for (const std::string& name : block->names) {
      const auto number = parse_number<std::int32_t>(name);
      if (!number || *number < 0) continue;
      if (found.size() >= kMaxNumbered) {
        return Error{Errc::limit,
                     directory.name() + ": more than " + std::to_string(kMaxNumbered) + " entries"};
      }
      found.push_back(*number);
    }
    more = block->more && !block->names.empty();
    if (more) after = block->names.back();
  }
  std::ranges::sort(found);
  return found;
}

Result<std::vector<std::int32_t>> list_pids(const Root& proc) { return list_numbers(proc); }

namespace {

// namespaces(7): the link reads "mnt:[4026531841]"; pid_for_children reads "pid:[...]".
Result<Hex> parse_namespace(std::string_view name, std::string_view target) {
  const std::size_t open = target.find(":[");
  if (open != std::string_view::npos && target.ends_with(']')) {
    const std::string_view digits = target.substr(open + 2, target.size() - open - 3);
    if (const auto inode = parse_number<std::uint64_t>(digits)) return Hex{*inode};
  }
  return Error{Errc::malformed, std::string(name).append(": not a namespace: ").append(target)};
}

}  // namespace

Result<Hex> read_namespace(const Root& process, std::string_view type) {
  const std::string name = under("ns", type);
  auto target = process.read_link_beneath(name);
  if (!target) return std::move(target).error();
  return parse_namespace(name, *target);
}

Result<Hex> read_namespace_at(const Root& proc, std::string_view path, std::string_view type) {
  const std::string name = under(path, "ns/").append(type);
  auto target = proc.read_link_beneath(name);
  if (!target) return std::move(target).error();
  return parse_namespace(name, *target);
}

Result<Hex> read_namespace(const Root& proc, std::int32_t pid, std::string_view type) {
  const std::string own = std::to_string(pid);
  auto inode = read_namespace_at(proc, own, type);
  if (inode || !(is_gone(inode.error()) || inode.error().number == EINVAL)) return inode;
  const std::string path = live_path(proc, pid);
  return path == own ? std::move(inode) : read_namespace_at(proc, path, type);
}

std::int32_t node_process(const Root& proc) {
  constexpr std::int32_t kInit = 1;
  constexpr std::int32_t kThreadDaemon = 2;
  if (read_namespace(proc, kInit, "mnt")) return kInit;
  const auto daemon = read_stat(proc, kThreadDaemon);
  if (daemon && daemon->is_kernel_thread() && read_namespace(proc, kThreadDaemon, "mnt"))
    return kThreadDaemon;
  const auto self = proc.read_link_beneath("self");
  const auto own = self ? parse_number<std::int32_t>(*self) : std::nullopt;
  return own.value_or(kInit);
}

}  // namespace ctriage::proc
