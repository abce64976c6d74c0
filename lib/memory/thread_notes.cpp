#include "lib/memory/thread_notes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/core/text.h"
#include "lib/memory/registers.h"
#include "lib/memory/stream.h"
#include "lib/proc/proc.h"
#include "lib/proc/registers.h"

namespace ctriage::memory {
namespace {

constexpr std::size_t kMaxExtendedBytes = 16 << 20;  // of vector registers of all threads

class ThreadNotes {
 public:
  ThreadNotes(elf::Notes& notes, DumpedProcess& dumped, const Subject& subject, Registers registers,
              const std::function<void()>& add_process, Task& task)
      : notes_(notes),
        dumped_(dumped),
        subject_(subject),
        stat_(subject.stat),
        registers_(registers),
        add_process_(add_process),
        task_(task) {}

  void add_all(proc::Readers& readers) {
    list();
    std::optional<Error> untraced;
    if (registers_ == Registers::ptrace && !threads_.empty()) untraced = trace(readers);
    while (added_ < threads_.size()) add(added_);
    if (threads_.empty()) add_process_();
    dumped_.threads = threads_.size();
    tell(std::move(untraced));
  }

 private:
  void list() {
    GapLog aside([this](const Gap& gap) {  // mounts of threads are no matter of memory
      if (gap.artifact == "proc.threads" || gap.artifact == "proc.syscall") task_.gaps.add(gap);
    });
    Task looking = task_.with(aside);
    auto listed = proc::list_threads(
        subject_.process, stat_.pid,
        [&](Thread&& thread) -> Status {
          if (thread.state == "Z" || thread.state == "X") return Done{};  // its stack is nobody's
          elf::ThreadNote note{thread.tid, stat_.ppid, stat_.pgrp, stat_.session, {}};
          if (registers_ != Registers::none && thread.syscall)
            note.registers = parse_call(thread.syscall->view());
          threads_.push_back(note);
          return Done{};
        },
        looking);
    if (!listed) task_.gaps.add(gap_of(Impact::lost, "threads", stat_.pid, std::move(listed).error()));
    std::ranges::stable_partition(threads_, [&](const auto& thread) { return thread.tid == stat_.pid; });
  }

  void add(std::size_t index) {
    const elf::ThreadNote& thread = threads_[index];
    notes_.add_thread(thread);
    if (thread.sets || thread.registers) ++dumped_.threads_with_registers;
    if (added_++ == 0) add_process_();
  }

  // Adds those of which it hears. Why the first of them could not be stopped.
  std::optional<Error> trace(proc::Readers& readers) {
    std::vector<std::int32_t> tids;
    for (const auto& thread : threads_) tids.push_back(thread.tid);
    std::optional<Error> first;
    std::size_t extended_bytes = 0;
    std::vector<std::uint64_t> general;
    const auto take = [&](std::size_t index, const Result<proc::ThreadRegisters>& registers) {
      if (!registers) {
        if (!first) first = registers.error();
        return add(index);
      }
      general.resize(registers->general.size() / sizeof(std::uint64_t));
      std::memcpy(general.data(), registers->general.data(), general.size() * sizeof(std::uint64_t));
      elf::RegisterSets sets{general, registers->floating, registers->extended, {}};
      extended_bytes += sets.extended.size();
      if (extended_bytes > kMaxExtendedBytes) sets.extended = {};
      threads_[index].sets = sets;
      add(index);
      threads_[index].sets.reset();  // they are gone with the next
    };
    auto stopped_ns = proc::read_registers(readers, stat_.pid, tids, take, task_);
    if (stopped_ns) {
      dumped_.stopped_ns = *stopped_ns;
    } else if (!first) {
      first = std::move(stopped_ns).error();
    }
    if (extended_bytes > kMaxExtendedBytes)
      task_.gaps.add(gap_of(Impact::degraded, "registers", stat_.pid,
                            {Errc::limit, "vector registers of the first threads only: over " +
                                              human_size(kMaxExtendedBytes) + " of them"}));
    return first;
  }

  void tell(std::optional<Error> untraced) {
    const std::uint64_t without = dumped_.threads - dumped_.threads_with_registers;
    const std::string some =
        counted(without, "thread", "threads") + " (of " + with_commas(dumped_.threads) + ")";
    if (untraced) {
      task_.gaps.add(gap_of(
          Impact::degraded, "registers", stat_.pid,
          std::move(*untraced).within("all registers of some threads are not known, of " + some + " none")));
    } else if (without > 0 && registers_ == Registers::syscall) {
      task_.gaps.add(gap_of(Impact::degraded, "registers", stat_.pid,
                            {Errc::unsupported, some + " ran: no registers of it are known without stopping "
                                                       "it, which --regs ptrace does"}));
    }
  }

  elf::Notes& notes_;
  DumpedProcess& dumped_;
  const Subject& subject_;
  const proc::Stat& stat_;
  Registers registers_;
  const std::function<void()>& add_process_;
  Task& task_;
  std::vector<elf::ThreadNote> threads_;
  std::size_t added_ = 0;
};

}  // namespace

void add_threads(elf::Notes& notes, DumpedProcess& dumped, const Subject& subject, proc::Readers& readers,
                 Registers registers, const std::function<void()>& add_process, Task& task) {
  ThreadNotes(notes, dumped, subject, registers, add_process, task).add_all(readers);
}

}  // namespace ctriage::memory
