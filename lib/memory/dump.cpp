#include "lib/memory/dump.h"

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/sys_memory.h"
#include "lib/core/text.h"
#include "lib/memory/identity.h"
#include "lib/memory/spool.h"
#include "lib/memory/stream.h"
#include "lib/proc/proc.h"

namespace ctriage::memory {
namespace {

constexpr std::size_t kMaxAuxvBytes = 64 << 10;

class Dump {
 public:
  Dump(const Root& proc, const Subject& subject, proc::Readers& readers, const DumpOptions& options,
       Task& task)
      : proc_(proc), subject_(subject), readers_(readers), options_(options), task_(task) {}

  Result<DumpedProcess> write(ByteSink& core, const Emit<PageRange>& ranges);

 private:
  Result<elf::Notes> make_notes(DumpedProcess& dumped);
  void add_process_notes(elf::Notes& notes, const std::string& auxv);
  void look_again(proc::Memory& memory);
  Result<std::uint64_t> estimate();
  void hold_still(Spool& spool);
  [[nodiscard]] std::string living() const { return proc::live_path(proc_, stat_); }

  const Root& proc_;
  const Subject& subject_;
  const Root& process_ = subject_.process;
  const proc::Stat& stat_ = subject_.stat;
  proc::Readers& readers_;
  const DumpOptions& options_;
  Task& task_;
  Plan plan_;
};

std::string joined(std::string_view arguments) {
  std::string text(arguments.substr(0, 80));
  std::ranges::replace(text, '\0', ' ');
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// 16 bytes an entry, the last of type AT_NULL; a 32-bit program's have 8, getauxval(3).
bool is_auxv_of_64_bits(std::string_view auxv) {
  constexpr std::size_t kEntryBytes = 16;
  if (auxv.size() < kEntryBytes || auxv.size() % kEntryBytes != 0) return false;
  for (std::size_t at = 0; at < auxv.size(); at += kEntryBytes) {
    if (auxv.substr(at + 4, 4) != std::string_view("\0\0\0\0", 4)) return false;  // types are small
  }
  return true;
}

void Dump::add_process_notes(elf::Notes& notes, const std::string& auxv) {
  notes.add_signal();
  if (!auxv.empty()) notes.add_auxv(auxv);
  auto added = notes.add_files(
      [this](const std::function<void(const elf::FileNote&)>& take) {
        for (const Region& region : plan_.regions) {
          const std::string_view path = plan_.path_of(region);
          if (region.inode == 0 || !path.starts_with('/')) continue;
          take({region.start, region.end, region.offset_bytes, path});
        }
      },
      sys::page_size());
  if (!added)
    task_.gaps.add(gap_of(Impact::degraded, "files", stat_.pid,
                          std::move(added).error().within("the core does not name mapped files")));
}

Result<elf::Notes> Dump::make_notes(DumpedProcess& dumped) {
  const std::string living = this->living();
  Process about;
  auto status = process_.read_file_in_root("status", kMaxProcTextBytes);
  if (!status) return std::move(status).error();
  if (auto parsed = proc::parse_status(*status, about); !parsed)
    task_.gaps.add(gap_of(Impact::degraded, "process", stat_.pid, std::move(parsed).error()));
  auto arguments = readers_.read_file(living + "/cmdline", kMaxCmdlineBytes, task_);
  if (!arguments)
    task_.gaps.add(gap_of(Impact::degraded, "process", stat_.pid, std::move(arguments).error()));
  auto auxv = readers_.read_file(living + "/auxv", kMaxAuxvBytes, task_);
  if (!auxv) task_.gaps.add(gap_of(Impact::degraded, "process", stat_.pid, auxv.error()));

  elf::Notes notes(elf::native_machine());
  elf::ProcessNote process;
  process.state = stat_.state;
  process.flags = stat_.flags;
  process.uid = about.credentials.uids.empty() ? 0 : about.credentials.uids.front();
  process.gid = about.credentials.gids.empty() ? 0 : about.credentials.gids.front();
  process.pid = stat_.pid;
  process.ppid = stat_.ppid;
  process.pgrp = stat_.pgrp;
  process.session = stat_.session;
  process.name = stat_.comm.view();
  const std::string command = arguments ? joined(*arguments) : std::string();
  process.arguments = command;
  notes.add_process(process);
  const bool wide = !auxv || is_auxv_of_64_bits(*auxv);
  if (!wide) {
    task_.gaps.add(gap_of(Impact::degraded, "process", stat_.pid,
                          {Errc::unsupported,
                           "a 32-bit program: its memory is in the core, its registers "
                           "and auxiliary vector are not; debuggers take it for 64 bits"}));
    return notes;
  }
  add_threads(
      notes, dumped, subject_, readers_, options_.registers,
      [&] { add_process_notes(notes, auxv ? *auxv : std::string()); }, task_);
  return notes;
}

// After the last page: whether it is the same program still, and what has come since.
void Dump::look_again(proc::Memory& memory) {
  const auto after = identity_of(process_);
  if (!after || !subject_.identity.is_same(*after)) {
    task_.gaps.add(gap_of(Impact::lost, "identity", stat_.pid,
                          {Errc::changed, after ? "it ran another program before its memory was read whole"
                                                : "it ended before its memory was read whole"}));
    return;
  }
  Plan now;
  now.regions = plan_.regions;
  now.choices = plan_.choices;
  PlanOptions all = options_.plan;
  all.shared = nullptr;
  GapLog aside;
  Task looking = task_.with(aside);
  if (!find_runs(memory, stat_.pid, all, now, looking)) return;
  std::uint64_t came = 0;
  std::size_t next = 0;
  for (const Run& run : now.runs) {
    if (run.state != PageState::data || plan_.cut.contains(run.region)) continue;
    std::uint64_t at = run.start;
    while (next < plan_.runs.size() && plan_.runs[next].end <= at) ++next;
    for (std::size_t known = next; known < plan_.runs.size() && plan_.runs[known].start < run.end; ++known) {
      if (plan_.runs[known].start > at) came += plan_.runs[known].start - at;
      at = std::max(at, plan_.runs[known].end);
    }
    if (at < run.end) came += run.end - at;
  }
  if (came > 0)
    task_.gaps.add(gap_of(Impact::note, "pages", stat_.pid,
                          {Errc::changed, human_size(came) + " came while it was read: not in the core"}));
}

// Of memory that is to be read, as it is now.
Result<std::uint64_t> Dump::estimate() {
  GapLog aside;
  Task looking = task_.with(aside);
  Plan plan;
  PlanOptions all = options_.plan;
  all.shared = nullptr;
  if (auto listed = list_regions_of(subject_, readers_, plan, looking); !listed)
    return std::move(listed).error();
  choose_regions(process_, readers_, all, plan, looking);
  auto memory = proc::Memory::open(readers_, living(), looking);
  if (!memory) return std::move(memory).error();
  if (auto found = find_runs(*memory, stat_.pid, all, plan, looking); !found) return std::move(found).error();
  std::uint64_t bytes = 0;
  for (const Run& run : plan.runs) bytes += run.state == PageState::data ? run.end - run.start : 0;
  return bytes;
}

// Where it may, the process stands still from here on. What is wrong with it is told when it is read.
void Dump::hold_still(Spool& spool) {
  constexpr std::uint64_t kBeside = 4 << 20;  // headers and notes
  const FreezeOptions& freeze = options_.freeze;
  if (freeze.freezer == nullptr) return;
  const auto bytes = estimate();
  if (!bytes) return;
  const auto leave = [&](Error why) {
    const Impact impact = freeze.only_if_short ? Impact::note : Impact::degraded;
    task_.gaps.add(gap_of(impact, "freeze", stat_.pid, std::move(why).within("not frozen")));
  };
  const std::uint64_t room = *bytes + *bytes / 8 + kBeside;
  const auto copying_ns = static_cast<std::int64_t>(*bytes * 1'000 / kCopiedPerSecond) * 1'000'000;
  if (freeze.only_if_short && copying_ns > kShortFreezeNs)
    return leave({Errc::limit, human_size(*bytes) + " would take about " +
                                   std::to_string(copying_ns / 1'000'000) + " ms, more than " +
                                   std::to_string(kShortFreezeNs / 1'000'000) + ": --freeze cgroup does it"});
  if (freeze.only_if_short && room > freeze.most_kept_bytes)
    return leave({Errc::limit, human_size(*bytes) + " would be kept in memory, and there is room for " +
                                   human_size(freeze.most_kept_bytes)});
  spool.make_room(std::min(room, freeze.most_kept_bytes));
  const std::int64_t most_ns =
      freeze.only_if_short ? std::min(freeze.most_ns, kShortFreezeNs) : freeze.most_ns;
  auto still = Still::begin(*freeze.freezer, readers_, most_ns, task_);
  if (still) return spool.hold(*std::move(still));
  spool.make_room(0);
  leave(std::move(still).error());
}

Result<DumpedProcess> Dump::write(ByteSink& core, const Emit<PageRange>& ranges) {
  Spool spool(core, ranges);
  hold_still(spool);
  if (auto listed = list_regions_of(subject_, readers_, plan_, task_); !listed)
    return std::move(listed).error();
  choose_regions(process_, readers_, options_.plan, plan_, task_);
  DumpedProcess dumped;
  dumped.pid = stat_.pid;
  dumped.start_ticks = stat_.start_ticks;
  dumped.exe = subject_.identity.exe.path;
  auto notes = make_notes(dumped);
  if (!notes) return std::move(notes).error();

  auto memory = proc::Memory::open(readers_, living(), task_);
  if (!memory) return std::move(memory).error();
  if (auto found = find_runs(*memory, stat_.pid, options_.plan, plan_, task_); !found)
    return std::move(found).error();
  const auto each = [&](const elf::TakeSegment& take) { plan_.each_segment(take); };
  each([&](const elf::Segment& segment) {
    ++dumped.segments;
    dumped.mapped_bytes += segment.size_bytes;
    if (segment.has_data) dumped.size_bytes += segment.size_bytes;
  });
  if (dumped.size_bytes > options_.max_core_bytes)
    return Error{Errc::full, "pid " + std::to_string(stat_.pid) + ": " + human_size(dumped.size_bytes) +
                                 " of memory, and no more than " + human_size(options_.max_core_bytes) +
                                 " may be written"};
  auto head = elf::write_head(*notes, each, sys::page_size(), spool);
  if (!head) return std::move(head).error();
  const Emit<PageRange> keep = [&spool](PageRange&& range) { return spool.add(std::move(range)); };
  Streamer streamer(
      plan_, stat_.pid, options_.plan.swap_in, *head, *memory, [this] { return subject_.is_same(); },
      [&spool](std::uint32_t, std::uint64_t, std::span<const std::byte> bytes, std::span<const PageState>) {
        return spool.write(bytes);
      },
      keep, task_);
  auto done = streamer.run();
  const bool was_frozen = spool.is_holding();
  auto released = spool.release();
  if (!done) return std::move(done).error();
  if (!released) return std::move(released).error();
  dumped.frozen_ns = spool.frozen_ns();
  dumped.frozen = was_frozen && !spool.not_held();
  if (spool.not_held())
    task_.gaps.add(gap_of(Impact::degraded, "freeze", stat_.pid,
                          Error(*spool.not_held()).within("not frozen to the end")));

  tell_untouched(plan_, stat_.pid, task_.gaps);
  const StateBytes& bytes = streamer.bytes_in();
  const auto of = [&](PageState state) { return bytes[static_cast<std::size_t>(state)]; };
  tell_lost(bytes, stat_.pid, task_.gaps);
  look_again(*memory);
  dumped.size_bytes += *head;
  dumped.data_bytes = of(PageState::data);
  dumped.left_bytes =
      of(PageState::shared) + of(PageState::swapped) + of(PageState::file) + of(PageState::device);
  dumped.lost_bytes =
      of(PageState::unreadable) + of(PageState::timeout) + of(PageState::vanished) + plan_.left_out_bytes();
  return dumped;
}

}  // namespace

Result<DumpedProcess> dump_process(const Root& proc, proc::Readers& readers, std::int32_t pid,
                                   std::uint64_t start_ticks, const DumpOptions& options, ByteSink& core,
                                   const Emit<PageRange>& ranges, Task& task) {
  const auto subject = open_subject(proc, pid, start_ticks);
  if (!subject) return subject.error();
  auto dumped = Dump(proc, *subject, readers, options, task).write(core, ranges);
  // What its core has not is for the next process that maps it.
  if (options.plan.shared != nullptr && (!dumped || dumped->lost_bytes > 0)) options.plan.shared->forget(pid);
  return dumped;
}

}  // namespace ctriage::memory
