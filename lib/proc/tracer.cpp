#include "lib/proc/tracer.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/core/cursor.h"
#include "lib/core/sys.h"
#include "lib/core/sys_trace.h"
#include "lib/proc/memory.h"
#include "lib/proc/reader_protocol.h"

namespace ctriage::proc {

static_assert(kThreadsAtATime * kRoomOfThread <= kSlots * kSlotBytes);

// A number that was another thread's a moment ago is looked at once it cannot change any more.
void Tracer::seize(const std::string& process, Traced& thread) {
  if (auto seized = sys::trace_seize(thread.tid); !seized) {
    thread.number = seized.error().number;
    return;
  }
  thread.seized = true;
  if (auto ours = proc_.stat_beneath(process + "/task/" + std::to_string(thread.tid)); !ours)
    thread.number = ESRCH;
  if (auto asked = sys::trace_interrupt(thread.tid); !asked) thread.number = asked.error().number;
}

// Until each stands or is gone, for kMostStopNs.
void Tracer::wait(std::vector<Traced>& threads) {
  constexpr int kStopEvent = PTRACE_EVENT_STOP;
  const std::int64_t give_up_ns = sys::boottime_ns() + kMostStopNs;
  std::int64_t pause_ns = 20'000;
  for (;;) {
    bool all = true;
    for (Traced& thread : threads) {
      if (!thread.seized || thread.stands) continue;
      const auto waited = sys::waitpid(thread.tid, __WALL | WNOHANG);
      if (waited && waited->pid == 0) {
        all = false;
      } else if (waited && WIFSTOPPED(waited->status)) {
        thread.stands = true;
        // Stopped on its way to a signal: it gets that when it goes on.
        if (waited->status >> 16 != kStopEvent) thread.signal = WSTOPSIG(waited->status);
      } else {
        // It has ended; or it ran another program and has the main thread's number now: what was attached to
        // is let go of by our end.
        must_end_ = must_end_ || !waited;
        thread.seized = false;
        thread.number = ESRCH;
      }
    }
    if (all || sys::boottime_ns() >= give_up_ns) return;
    sys::sleep_ns(pause_ns);
    pause_ns = std::min<std::int64_t>(pause_ns * 2, 5'000'000);
  }
}

std::string Tracer::read_sets(Traced& thread, std::span<std::byte> room) {
  if (thread.seized && !thread.stands && thread.number == 0) thread.number = ETIMEDOUT;
  constexpr std::array kSets{NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE};
  std::array<std::size_t, kSets.size()> sizes{};
  for (std::size_t i = 0; i < kSets.size() && thread.number == 0; ++i) {
    const auto got = sys::trace_registers(thread.tid, static_cast<unsigned>(kSets[i]), room);
    if (got) {
      sizes[i] = *got;
      room = room.subspan(*got);
    } else if (i == 0) {
      thread.number = got.error().number;
    }
  }
  std::string answer;
  append_integer(answer, static_cast<std::uint64_t>(thread.number), 4);
  for (const std::size_t size : sizes) append_integer(answer, thread.number == 0 ? size : 0, 4);
  return answer;
}

std::string Tracer::read(std::string_view request) {
  ByteCursor in(std::as_bytes(std::span(request.data(), request.size())).subspan(1));
  const std::string process = std::to_string(in.u32());
  std::vector<Traced> threads;
  while (in.ok() && !in.at_end()) threads.push_back({.tid = static_cast<int>(in.u32())});
  if (!in.ok() || threads.empty() || threads.size() > kThreadsAtATime)
    return encode_failure(Error{Errc::malformed, "registers: no such threads"});

  const std::int64_t began_ns = sys::boottime_ns();
  for (Traced& thread : threads) seize(process, thread);
  wait(threads);
  std::string sets;
  for (std::size_t i = 0; i < threads.size(); ++i)
    sets += read_sets(threads[i], shared_.subspan(i * kRoomOfThread, kRoomOfThread));
  for (const Traced& thread : threads) {
    if (!thread.seized) continue;
    const bool gone_on = thread.stands && sys::trace_detach(thread.tid, thread.signal).has_value();
    must_end_ = must_end_ || !gone_on;
  }
  std::string answer(1, kBytes);
  append_integer(answer, must_end_ ? 1 : 0, 1);
  append_integer(answer, static_cast<std::uint64_t>(sys::boottime_ns() - began_ns), 8);
  return answer + sets;
}

}  // namespace ctriage::proc
