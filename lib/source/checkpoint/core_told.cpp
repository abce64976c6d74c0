// What the core of a process in a checkpoint holds: notes with its registers, and what each stretch is.
#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/source/checkpoint/core.h"

namespace ctriage::source {
namespace {

std::string joined(const std::vector<Bytes>& arguments) {
  constexpr std::size_t kKept = 80;  // of pr_psargs
  std::string text;
  for (const Bytes& argument : arguments) {
    if (text.size() >= kKept) break;
    if (!text.empty()) text += ' ';
    text += argument.view().substr(0, kKept);
  }
  return text;
}

elf::RegisterSets sets_of(const criu::Registers& registers) {
  return {registers.general, registers.floating, registers.extended, registers.tls};
}

}  // namespace

// Ranges in the order of addresses; neighbours that are alike become one.
class CheckpointCore::Teller {
 public:
  Teller(const CheckpointCore& core, const Emit<PageRange>& emit) : core_(core), emit_(emit) {}

  struct What {
    PageState state = PageState::hole;
    std::int32_t shared_with = 0;
    std::string_view reason = {};
    std::optional<std::uint64_t> core_offset = {};
  };
  Status tell(std::uint32_t region, std::uint64_t start, std::uint64_t end, const What& what) {
    if (start >= end) return Done{};
    bytes_[static_cast<std::size_t>(what.state)] += end - start;
    const auto shared_with = what.shared_with != 0 ? std::optional(what.shared_with) : std::nullopt;
    if (pending_ && region_ == region && pending_->end.value == start && pending_->state == what.state &&
        pending_->shared_with == shared_with &&
        pending_->core_offset_bytes.has_value() == what.core_offset.has_value() &&
        pending_->reason.value_or("") == what.reason) {
      pending_->end = Hex{end};
      return Done{};
    }
    if (auto done = flush(); !done) return done;
    const memory::Region& of = core_.plan_.regions[region];
    PageRange range;
    range.pid = core_.subject_.pid;
    range.start = Hex{start};
    range.end = Hex{end};
    range.state = what.state;
    range.protection = std::string(of.protection.begin(), of.protection.end());
    const bool has_offset = core_.beside_[region].object || core_.beside_[region].has_file;
    range.offset_bytes = has_offset ? of.offset_bytes + (start - of.start) : 0;
    range.inode = Hex{of.inode};
    range.path = Bytes(std::string(core_.plan_.path_of(of)));
    range.core_offset_bytes = what.core_offset;
    range.shared_with = shared_with;
    if (!what.reason.empty()) range.reason = std::string(what.reason);
    range.frozen = true;
    pending_ = std::move(range);
    region_ = region;
    return Done{};
  }
  Status flush() {
    if (!pending_) return Done{};
    PageRange range = *std::move(pending_);
    pending_.reset();
    return emit_(std::move(range));
  }

  // What is in no run.
  Status rest(std::uint32_t region, std::uint64_t start, std::uint64_t end) {
    if (core_.plan_.cut.contains(region))
      return tell(region, start, end,
                  {PageState::hole, 0, "too many runs of pages: some of it may be there and was left out"});
    switch (core_.beside_[region].rest) {
      case Rest::hole:
        break;
      case Rest::file:
        return tell(region, start, end,
                    {PageState::file, 0, "a checkpoint has of a file's pages the changed ones only"});
      case Rest::guard:
        return tell(region, start, end, {PageState::guard});
      case Rest::vsyscall:
        return tell(region, start, end, {PageState::device, 0, "the kernel's, the same everywhere"});
      case Rest::vvar:
        return tell(region, start, end, {PageState::device, 0, "the kernel's clock data"});
      case Rest::ring:
        return tell(region, start, end, {PageState::device, 0, "rings of sockets are not in a checkpoint"});
      case Rest::missing:
        return tell(region, start, end,
                    {PageState::unreadable, 0, "the pages of the object are not in the checkpoint"});
    }
    return tell(region, start, end, {});
  }

  // Of pages in the core those that were lost, the rest as `what` says.
  Status in_core(std::uint32_t region, std::uint64_t start, std::uint64_t end, std::uint64_t core_offset,
                 PageState state) {
    const std::vector<Lost>& lost = core_.lost_;
    while (next_ < lost.size() && lost[next_].end <= start) ++next_;
    std::uint64_t at = start;
    for (std::size_t each = next_; each < lost.size() && lost[each].start < end; ++each) {
      const std::uint64_t from = std::max(at, lost[each].start);
      const std::uint64_t until = std::min(end, lost[each].end);
      if (until <= from) continue;
      auto told = tell(region, at, from, {state, 0, {}, core_offset + (at - start)});
      if (told)
        told =
            tell(region, from, until,
                 {PageState::unreadable, 0, core_.reasons_[lost[each].reason], core_offset + (from - start)});
      if (!told) return told;
      at = until;
    }
    return tell(region, at, end, {state, 0, {}, core_offset + (at - start)});
  }

  [[nodiscard]] std::uint64_t bytes_of(PageState state) const {
    return bytes_[static_cast<std::size_t>(state)];
  }

 private:
  const CheckpointCore& core_;
  const Emit<PageRange>& emit_;
  std::array<std::uint64_t, enum_names(PageState{}).size()> bytes_{};
  std::optional<PageRange> pending_;
  std::uint32_t region_ = 0;
  std::size_t next_ = 0;  // of what was lost
};

Status CheckpointCore::tell(const Emit<PageRange>& ranges, Task& task) {
  auto maps = open_maps();
  if (!maps) return std::move(maps).error();
  std::ranges::stable_sort(lost_, {}, &Lost::start);
  Teller teller(*this, ranges);
  std::uint64_t core_offset = head_bytes_;
  std::size_t next = 0;
  for (std::uint32_t region = 0; region < plan_.regions.size(); ++region) {
    if (auto go_on = task.check(); !go_on) return go_on;
    std::uint64_t at = plan_.regions[region].start;
    for (; next < plan_.runs.size() && plan_.runs[next].region == region; ++next) {
      const memory::Run& run = plan_.runs[next];
      auto told = teller.rest(region, at, run.start);
      at = run.end;
      if (told && run.state != PageState::data) {
        told = teller.tell(region, run.start, run.end, {run.state, run.shared_with});
      } else if (told && run.exact) {
        told = teller.in_core(region, run.start, run.end, core_offset, PageState::data);
      } else if (told) {
        told = each_stretch(*maps, region, run.start, run.end, [&](const Stretch& stretch) {
          return teller.in_core(region, stretch.start, stretch.end, core_offset + (stretch.start - run.start),
                                stretch.map == nullptr ? PageState::hole : PageState::data);
        });
      }
      if (!told) return told;
      if (run.state == PageState::data) core_offset += run.end - run.start;
    }
    if (auto told = teller.rest(region, at, plan_.regions[region].end); !told) return told;
  }
  if (auto told = teller.flush(); !told) return told;
  const std::uint64_t unreadable = teller.bytes_of(PageState::unreadable);
  if (unreadable > 0)
    task.gaps.add(gap_of(
        Impact::lost, "pages",
        {Errc::truncated, human_size(unreadable) + " should be there and is not: the ranges tell why"}));
  dumped_.size_bytes = size_bytes();
  dumped_.data_bytes = teller.bytes_of(PageState::data);
  dumped_.left_bytes = teller.bytes_of(PageState::shared) + teller.bytes_of(PageState::file) +
                       teller.bytes_of(PageState::device);
  dumped_.lost_bytes = unreadable + plan_.left_out_bytes();
  return Done{};
}

Status CheckpointCore::write_head(ByteSink& out, Task& task) {
  const std::string name = "core-" + std::to_string(subject_.pid) + ".img";
  auto text = tasks_.store_.read(tasks_.dir_ + name, kMaxCriuImageBytes);
  auto state = text ? criu::parse_thread_state(*text) : Result<criu::ThreadState>(std::move(text).error());
  if (!state) return std::move(state).error().within(name);
  if (state->machine != criu::kMachineX86 && state->machine != criu::kMachineAarch64) {
    const std::string_view machine = criu::machine_name(state->machine);
    return Error{Errc::unsupported, "pid " + std::to_string(subject_.pid) + ": of " +
                                        (machine.empty() ? "an unknown machine" : std::string(machine)) +
                                        ", and cores are written for x86_64 and aarch64"};
  }
  elf::Notes notes(state->machine == criu::kMachineX86 ? elf::Machine::x86_64 : elf::Machine::aarch64);
  elf::ProcessNote process;
  if (!subject_.state.empty()) process.state = subject_.state.front();
  process.flags = state->task_flags;
  process.uid = subject_.credentials.uids.empty() ? 0 : subject_.credentials.uids.front();
  process.gid = subject_.credentials.gids.empty() ? 0 : subject_.credentials.gids.front();
  process.pid = subject_.pid;
  process.ppid = subject_.ppid;
  process.pgrp = subject_.pgrp;
  process.session = subject_.session;
  process.name = subject_.comm.view();
  const std::string command = joined(subject_.argv);
  process.arguments = command;
  notes.add_process(process);
  if (state->registers && state->registers->compat) {
    task.gaps.add(gap_of(Impact::degraded, "process",
                         {Errc::unsupported,
                          "a 32-bit program: its memory is in the core, its registers "
                          "and auxiliary vector are not; debuggers take it for 64 bits"}));
  } else {
    add_threads(notes, *state, task);
  }
  const auto each = [&](const elf::TakeSegment& take) { plan_.each_segment(take); };
  auto head = elf::write_head(notes, each, page_bytes_, out);
  if (!head) return std::move(head).error();
  head_bytes_ = *head;
  return Done{};
}

void CheckpointCore::add_threads(elf::Notes& notes, const criu::ThreadState& first, Task& task) {
  const auto add = [&](std::int32_t tid, const criu::ThreadState& state) {
    elf::ThreadNote note{tid, subject_.ppid, subject_.pgrp, subject_.session, {}};
    if (state.registers) note.sets = sets_of(*state.registers);
    note.pending_signals = state.pending_signals;
    note.blocked_signals = state.blocked_signals;
    notes.add_thread(note);
    ++dumped_.threads;
    if (state.registers) ++dumped_.threads_with_registers;
  };
  add(subject_.pid, first);
  add_of_process(notes, task);
  std::uint64_t beyond = 0;
  for (const Thread& thread : tasks_.threads) {
    if (thread.pid != subject_.pid || thread.tid == subject_.pid) continue;
    if (dumped_.threads >= kMaxCoreThreads) {
      ++beyond;
      continue;
    }
    const std::string name = "core-" + std::to_string(thread.tid) + ".img";
    auto text = tasks_.store_.read(tasks_.dir_ + name, kMaxCriuImageBytes);
    auto state = text ? criu::parse_thread_state(*text) : Result<criu::ThreadState>(std::move(text).error());
    if (!state) {
      task.gaps.add(gap_of(Impact::lost, "registers", std::move(state).error().within(name)));
      state = criu::ThreadState{};
    }
    add(thread.tid, *state);
  }
  if (beyond > 0)
    task.gaps.add(gap_of(Impact::lost, "threads",
                         {Errc::limit, with_commas(beyond) + " threads beyond " +
                                           with_commas(kMaxCoreThreads) + " are not in the core"}));
  if (dumped_.threads_with_registers < dumped_.threads)
    task.gaps.add(gap_of(Impact::lost, "registers",
                         {Errc::not_found, counted(dumped_.threads - dumped_.threads_with_registers,
                                                   "thread has", "threads have") +
                                               " no registers in its image"}));
}

// Between the first thread and the next, where gdb does not take them for a thread's.
void CheckpointCore::add_of_process(elf::Notes& notes, Task& task) {
  notes.add_signal();
  std::string auxv;
  for (const std::uint64_t word : auxv_) {
    for (unsigned shift = 0; shift < 64; shift += 8) auxv += static_cast<char>(word >> shift & 0xff);
  }
  if (!auxv.empty()) notes.add_auxv(auxv);
  auto added = notes.add_files(
      [this](const std::function<void(const elf::FileNote&)>& take) {
        for (std::size_t i = 0; i < plan_.regions.size(); ++i) {
          const memory::Region& region = plan_.regions[i];
          if (beside_[i].has_file)
            take({region.start, region.end, region.offset_bytes, plan_.path_of(region)});
        }
      },
      page_bytes_);
  if (!added)
    task.gaps.add(gap_of(Impact::degraded, "files",
                         std::move(added).error().within("the core does not name mapped files")));
}

}  // namespace ctriage::source
