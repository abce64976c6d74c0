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
void tell_left(const StateBytes& bytes, std::int32_t pid, GapLog& gaps) {
  const std::uint64_t file = bytes[static_cast<std::size_t>(PageState::file)];
  if (file > 0)
    gaps.add(gap_of(Impact::note, "pages", pid,
                    {Errc::unsupported, human_size(file) + " as in the files that are mapped: not searched; "
                                                           "--file-pages all takes it"}));
}

// A file in memory that is open and mapped by nobody has bytes that no mapping shows, memfd_create(2).
void tell_unmapped(const Root& process, const Plan& plan, std::int32_t pid, Task& task) {
  const Emit<Descriptor> look = [&](Descriptor&& file) -> Status {
    const bool mapped = std::ranges::any_of(plan.regions, [&](const Region& region) {
      return region.inode == file.inode.value && region.device == file.device.value;
    });
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

bool is_code(const Plan& plan, const Region& region) {
  return region.protection[2] == 'x' && !region.is_shared() &&
         is_named_file(region.inode, plan.path_of(region));
}

enum class Which : std::uint8_t { all, code };

// `whole`: all of it came.
Status visit(const Root& proc, const Subject& subject, proc::Readers& readers, const PlanOptions& options,
             Which which, const MemoryArea& like, MemoryVisitor& visitor, bool& whole, Task& task) {
  const std::int32_t pid = subject.stat.pid;
  Plan plan;
  if (auto listed = list_regions_of(subject, readers, plan, task); !listed) return listed;
  if (which == Which::code) {
    std::erase_if(plan.regions, [&](const Region& region) { return !is_code(plan, region); });
    if (plan.regions.empty()) return Done{};
  }
  choose_regions(subject.process, readers, options, plan, task);
  MemoryArea common = like;
  common.pid = pid;
  common.container_pid = container_pid_of(subject.process);
  auto memory = proc::Memory::open(readers, proc::live_path(proc, subject.stat), task);
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
  Streamer streamer(
      plan, pid, options.swap_in, 0, *memory, [&] { return subject.is_same(); }, take, ranges, task);
  if (auto done = streamer.run(); !done) return done;
  const StateBytes& bytes = streamer.bytes_in();
  tell_lost(bytes, pid, task.gaps);
  if (which == Which::all) {
    tell_left(bytes, pid, task.gaps);
    tell_untouched(plan, pid, task.gaps);
    tell_unmapped(subject.process, plan, pid, task);
  }
  const bool same = subject.is_same();
  const auto of = [&](PageState state) { return bytes[static_cast<std::size_t>(state)]; };
  whole = same && of(PageState::unreadable) + of(PageState::timeout) + of(PageState::vanished) == 0;
  if (!same)
    task.gaps.add(
        gap_of(Impact::lost, "identity", pid,
               {Errc::changed, "it ended or ran another program before its memory was read whole"}));
  return Done{};
}

}  // namespace

Status visit_process(const Root& proc, proc::Readers& readers, std::int32_t pid, std::uint64_t start_ticks,
                     const PlanOptions& options, const MemoryArea& like, MemoryVisitor& visitor, Task& task) {
  const auto subject = open_subject(proc, pid, start_ticks);
  if (!subject) return subject.error();
  bool whole = false;
  auto visited = visit(proc, *subject, readers, options, Which::all, like, visitor, whole, task);
  // What it did not deliver of shared pages, the next one has.
  if (options.shared != nullptr && !whole) options.shared->forget(pid);
  return visited;
}

Status visit_code(const Root& proc, proc::Readers& readers, std::int32_t pid, std::uint64_t start_ticks,
                  const MemoryArea& like, MemoryVisitor& visitor, Task& task) {
  const auto subject = open_subject(proc, pid, start_ticks);
  if (!subject) return subject.error();
  bool whole = false;
  return visit(proc, *subject, readers, {}, Which::code, like, visitor, whole, task);
}

}  // namespace ctriage::memory
