#include "lib/proc/thread_tables.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

// Links of threads read for one process, some 5 us each. A server of 1,000 threads and 1,000 descriptors has
// a million.
constexpr std::size_t kMaxLinks = 200'000;

// Nothing: closed meanwhile. `owner`: "" or "TID/".
std::optional<std::size_t> link_of(const Root& below, std::string_view owner, std::int32_t number) {
  auto target = below.read_link_beneath(std::string(owner).append("fd/").append(std::to_string(number)));
  if (!target && target.error().number == ENAMETOOLONG) return hash_of_target({});
  if (!target) return std::nullopt;
  return hash_of_target(*target);
}

// As many descriptors as `main` has, and each of those the same: then there are no others. The size of the
// directory is their number since Linux 6.2, fs/proc/fd.c proc_fd_getattr; before it is 0.
bool shows_the_same(const Root& threads, const std::string& owner, const Table& main) {
  const auto info = threads.stat_beneath(owner + "fd");
  if (!info || info->size_bytes != main.size()) return false;
  return std::ranges::all_of(
      main, [&](const auto& known) { return link_of(threads, owner, known.first) == known.second; });
}

}  // namespace

std::size_t hash_of_target(std::string_view target) { return std::hash<std::string_view>{}(target); }

Status list_odd_descriptors(const Root& process, std::int32_t pid, const Root& living, const Table& main,
                            const TakeOdd& take, Task& task) {
  auto directory = process.descend("task");
  auto tids = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!tids) return Done{};  // it ended
  std::size_t links = 0;
  std::uint64_t not_compared = 0;
  std::uint64_t refused = 0;
  std::optional<Error> first_refused;
  std::set<std::pair<std::int32_t, std::size_t>> told;  // threads may share a table among themselves
  for (const std::int32_t tid : *tids) {
    if (auto going = task.check(); !going) return going;
    const std::string owner = std::to_string(tid) + "/";
    if (links + main.size() <= kMaxLinks) {
      links += main.size();
      if (shows_the_same(*directory, owner, main)) continue;
    }
    auto thread = directory->descend(std::to_string(tid));
    auto table = thread ? thread->descend("fd") : Result<Root>(thread.error());
    auto numbers = table ? list_numbers(*table) : Result<std::vector<std::int32_t>>(table.error());
    if (!numbers) {
      if (is_gone(numbers.error())) continue;
      ++refused;
      if (!first_refused) first_refused = std::move(numbers).error();
      continue;
    }
    bool skipped = false;
    for (const std::int32_t number : *numbers) {
      const auto known = std::ranges::lower_bound(main, number, {}, &Table::value_type::first);
      const bool in_main = known != main.end() && known->first == number;
      if (in_main && links >= kMaxLinks) {
        skipped = true;
        continue;
      }
      if (links >= 2 * kMaxLinks) {
        skipped = true;
        break;
      }
      ++links;
      const auto target = link_of(*thread, "", number);
      if (!target || (in_main && known->second == *target)) continue;
      // Opened by all since `main` was read: then it is in the process's table by now.
      if (link_of(living, "", number) == target) continue;
      if (!told.emplace(number, *target).second) continue;
      if (auto taken = take(*thread, tid, number); !taken) return taken;
    }
    not_compared += skipped;
  }
  if (first_refused) {
    task.gaps.add(gap_of("descriptors", origin_of(pid),
                         std::move(*first_refused).within(std::to_string(refused) + " threads")));
  }
  if (not_compared > 0) {
    task.gaps.add(gap_of("descriptors", origin_of(pid),
                         {Errc::limit, "descriptor tables of " + std::to_string(not_compared) + " of " +
                                           std::to_string(tids->size()) +
                                           " threads were not compared with the process's: too many"},
                         Impact::degraded));
  }
  return Done{};
}

}  // namespace ctriage::proc
