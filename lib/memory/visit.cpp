#include "lib/memory/visit.h"

#include <algorithm>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/sys_memory.h"
#include "lib/core/text.h"
#include "lib/memory/identity.h"
#include "lib/memory/stream.h"
#include "lib/proc/proc.h"

namespace ctriage::memory {
namespace {

Gap gap_of(Impact impact, std::string_view facet, std::int32_t pid, Error error) {
  return {impact, std::string("memory.").append(facet), "pid " + std::to_string(pid), std::move(error)};
}

MemoryArea area_of(const Plan& plan, const Region& region, const MemoryArea& like) {
  MemoryArea area = like;
  area.start = region.start;
  area.address = region.start;
  area.offset_bytes = region.offset_bytes;
  area.has_offset = region.inode != 0;
  area.protection.assign(region.protection.begin(), region.protection.end());
  area.path = Bytes(std::string(plan.path_of(region)));
  return area;
}

std::int32_t container_pid_of(const Root& process) {
  Process about;
  auto status = process.read_file_in_root("status", kMaxProcTextBytes);
  return status && proc::parse_status(*status, about) ? about.container_pid : 0;
}

// By plan, and still: what was not looked at is named.
void tell_left(const StateBytes& bytes, const Plan& plan, std::int32_t pid, GapLog& gaps) {
  const std::uint64_t file = bytes[static_cast<std::size_t>(PageState::file)];
  if (file > 0)
    gaps.add(gap_of(Impact::note, "pages", pid,
                    {Errc::unsupported, human_size(file) + " as in the files that are mapped: not searched; "
                                                           "--file-pages all takes it"}));
  if (plan.untouched_bytes > 0)
    gaps.add(
        gap_of(Impact::degraded, "pages", pid,
               {Errc::unsupported, human_size(plan.untouched_bytes) +
                                       " of shared memory that it has mapped and not touched: not read"}));
}

// A file in memory that is open and mapped by nobody has bytes that no mapping shows, memfd_create(2).
void tell_unmapped(const Root& process, const Plan& plan, std::int32_t pid, Task& task) {
  const Emit<Descriptor> look = [&](Descriptor&& file) -> Status {
    const bool mapped = std::ranges::any_of(
        plan.regions, [&](const Region& region) { return region.inode == file.inode.value; });
    if (file.kind == "memfd" && file.size_bytes > 0 && !mapped)
      task.gaps.add(gap_of(
          Impact::lost, "memfd", pid,
          {Errc::unsupported, "descriptor " + std::to_string(file.fd) + " " + file.target.raw + ", " +
                                  human_size(file.size_bytes) + ": open and not mapped, not searched"}));
    return Done{};
  };
  if (auto listed = proc::list_descriptors(process, pid, look, task); !listed && task.check())
    task.gaps.add(gap_of(Impact::lost, "memfd", pid,
                         Error(listed.error()).within("whether it has files in memory that nobody maps")));
}

}  // namespace

Status visit_process(const Root& proc, proc::Readers& readers, std::int32_t pid, std::uint64_t start_ticks,
                     const PlanOptions& options, const MemoryArea& like, MemoryVisitor& visitor, Task& task) {
  auto process = proc::open_process(proc, pid, start_ticks);
  if (!process) return std::move(process).error();
  auto stat = proc::read_own_stat(*process);
  if (!stat) return std::move(stat).error();
  if (stat->is_kernel_thread())
    return Error{Errc::unsupported, "pid " + std::to_string(pid) + ": a kernel thread, without memory"};
  if (stat->has_ended())
    return Error{Errc::vanished, "pid " + std::to_string(pid) + ": has ended (zombie), its memory is gone"};
  const auto before = identity_of(*process);
  if (!before) return before.error();
  Plan plan;
  if (auto listed = list_regions(*process, readers, pid, plan, task); !listed) return listed;
  if (plan.regions.empty()) {
    const auto now = identity_of(*process);
    if (!now || !before->is_same(*now))
      return Error{Errc::vanished, "pid " + std::to_string(pid) + ": ended before its mappings were listed"};
    return Error{Errc::unsupported, "pid " + std::to_string(pid) + ": has no memory of its own"};
  }
  choose_regions(*process, readers, options, plan, task);
  MemoryArea common = like;
  common.pid = pid;
  common.container_pid = container_pid_of(*process);
  auto memory = proc::Memory::open(readers, proc::live_path(proc, *stat), task);
  if (!memory) return std::move(memory).error();
  if (auto found = find_runs(*memory, pid, options, plan, task); !found) return found;

  std::optional<std::uint32_t> entered;
  const std::size_t page = sys::page_size();
  const TakePages take = [&](std::uint32_t region, std::uint64_t address, std::span<const std::byte> bytes,
                             std::span<const PageState> states) -> Status {
    if (entered != region) {
      if (auto done = visitor.enter(area_of(plan, plan.regions[region], common)); !done) return done;
      entered = region;
    }
    for (std::size_t first = 0; first < states.size();) {
      std::size_t end = first + 1;
      while (end < states.size() && states[end] == states[first]) ++end;
      if (states[first] == PageState::data) {
        const auto part = bytes.subspan(first * page, (end - first) * page);
        if (auto done = visitor.take(address + first * page, part); !done) return done;
      }
      first = end;
    }
    return Done{};
  };
  const Emit<PageRange> ranges = [](PageRange&&) -> Status { return Done{}; };
  const auto is_same = [&] {
    const auto now = identity_of(*process);
    return now && before->is_same(*now);
  };
  Streamer streamer(plan, pid, options.swap_in, 0, *memory, is_same, take, ranges, task);
  if (auto done = streamer.run(); !done) return done;
  const StateBytes& bytes = streamer.bytes_in();
  tell_lost(bytes, pid, task.gaps);
  tell_left(bytes, plan, pid, task.gaps);
  tell_unmapped(*process, plan, pid, task);
  const bool same = is_same();
  // What it did not deliver of shared pages, the next one has.
  const auto of = [&](PageState state) { return bytes[static_cast<std::size_t>(state)]; };
  const bool whole = of(PageState::unreadable) + of(PageState::timeout) + of(PageState::vanished) == 0;
  if (options.shared != nullptr && (!same || !whole)) options.shared->forget(pid);
  if (!same)
    task.gaps.add(
        gap_of(Impact::lost, "identity", pid,
               {Errc::changed, "it ended or ran another program before its memory was read whole"}));
  return Done{};
}

}  // namespace ctriage::memory
