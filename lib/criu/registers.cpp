// Registers: core.proto, core-x86.proto, core-aarch64.proto, siginfo.proto of CRIU 4.2.
#include <algorithm>
#include <array>

#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

void put(std::string& out, std::uint64_t value, unsigned bytes) {
  for (unsigned shift = 0; shift < 8 * bytes; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}

// Field 1 is r15; user_regs_struct, <sys/user.h>, has the same up to gs_base, then ds, es, fs, gs: in this
// very order.
constexpr std::size_t kX86Registers = 27;
// regs[31], sp, pc, pstate: user_pt_regs, <asm/ptrace.h>.
constexpr std::size_t kArmRegisters = 34;

Status parse_x86_general(std::string_view message, Registers& into) {
  constexpr std::uint32_t kCompat = 2;
  into.general.assign(kX86Registers, 0);
  Message in(message);
  while (in.next()) {
    const std::uint32_t field = in.field();
    if (field >= 1 && field <= kX86Registers) into.general[field - 1] = in.number();
    if (field == kX86Registers + 1) into.compat = in.number32() == kCompat;
  }
  if (!in.ok()) return damaged("user_x86_regs_entry");
  return Done{};
}

// One component of an XSAVE area: the bit of it, where it lies in the standard form, and its size. The
// offsets are those of processors by Intel, which gdb and lldb take for granted; CRIU has taken the
// components apart, so the processor's own offsets do not matter.
struct Component {
  unsigned bit;
  std::size_t offset;
  std::size_t words;
  unsigned word_bytes;
  std::uint32_t field;  // of user_x86_xsave_entry
};
constexpr std::array<Component, 5> kComponents{{
    {2, 576, 64, 4, 2},    // AVX: upper halves of ymm
    {5, 1088, 8, 8, 5},    // k0 to k7
    {6, 1152, 64, 8, 6},   // upper halves of zmm0 to zmm15
    {7, 1664, 128, 8, 7},  // zmm16 to zmm31
    {9, 2688, 2, 4, 8},    // PKRU
}};
constexpr std::size_t kLegacyBytes = 512;      // as FXSAVE writes it
constexpr std::size_t kXcr0Offset = 464;       // gdb looks here for what components there are
constexpr std::size_t kStateMaskOffset = 512;  // of those the ones that are not as after a reset
constexpr std::size_t kHeaderEnd = 576;
constexpr std::uint64_t kX87AndSse = 3;

void put_at(std::string& out, std::size_t offset, std::uint64_t value, unsigned bytes) {
  if (out.size() < offset + bytes) out.resize(offset + bytes, '\0');
  for (unsigned i = 0; i < bytes; ++i) out[offset + i] = static_cast<char>(value >> (8 * i) & 0xff);
}

Status parse_xsave(std::string_view message, Registers& into) {
  std::uint64_t in_use = 0;
  std::array<std::vector<std::uint64_t>, kComponents.size()> words;
  Message in(message);
  while (in.next()) {
    in.take(1, in_use);
    for (std::size_t i = 0; i < kComponents.size(); ++i) in.take(kComponents[i].field, words[i]);
  }
  if (!in.ok()) return damaged("user_x86_xsave_entry");
  std::string area = into.floating;
  area.resize(kHeaderEnd, '\0');
  std::uint64_t there = kX87AndSse;
  for (std::size_t i = 0; i < kComponents.size(); ++i) {
    const Component& component = kComponents[i];
    if (words[i].empty()) continue;
    there |= std::uint64_t{1} << component.bit;
    area.resize(component.offset + component.words * component.word_bytes, '\0');
    for (std::size_t word = 0; word < std::min(words[i].size(), component.words); ++word)
      put_at(area, component.offset + word * component.word_bytes, words[i][word], component.word_bytes);
  }
  put_at(area, kXcr0Offset, there, 8);
  put_at(area, kStateMaskOffset, in_use & there, 8);
  into.extended = std::move(area);
  return Done{};
}

// FXSAVE: cwd, swd, twd, fop, rip, rdp, mxcsr, mxcsr_mask, eight registers of 16 bytes, sixteen of 16 bytes.
Status parse_x86_floating(std::string_view message, Registers& into) {
  std::array<std::uint64_t, 8> head{};
  constexpr std::array<unsigned, 8> kHeadBytes{2, 2, 2, 2, 8, 8, 4, 4};
  std::vector<std::uint64_t> st;
  std::vector<std::uint64_t> xmm;
  std::optional<std::string_view> xsave;
  Message in(message);
  while (in.next()) {
    const std::uint32_t field = in.field();
    if (field >= 1 && field <= head.size()) head[field - 1] = in.number();
    in.take(9, st);
    in.take(10, xmm);
    if (field == 13) xsave = in.bytes();
  }
  if (!in.ok()) return damaged("user_x86_fpregs_entry");
  constexpr std::size_t kStWords = 32;
  constexpr std::size_t kXmmWords = 64;
  st.resize(kStWords);
  xmm.resize(kXmmWords);
  for (std::size_t i = 0; i < head.size(); ++i) put(into.floating, head[i], kHeadBytes[i]);
  for (const std::uint64_t word : st) put(into.floating, word, 4);
  for (const std::uint64_t word : xmm) put(into.floating, word, 4);
  into.floating.resize(kLegacyBytes, '\0');
  return xsave ? parse_xsave(*xsave, into) : Status(Done{});
}

Result<Registers> parse_x86(std::string_view message) {
  Registers registers;
  Message in(message);
  while (in.next()) {
    Status part = Done{};
    if (in.field() == 2) part = parse_x86_general(in.bytes(), registers);
    if (in.field() == 3) {
      registers.floating.clear();  // of a field that is there twice the last holds
      part = parse_x86_floating(in.bytes(), registers);
    }
    if (!part) return std::move(part).error();
  }
  if (in.ok() && registers.general.empty()) return Error{Errc::not_found, "thread_info_x86: no registers"};
  return whole(in, std::move(registers), "thread_info_x86");
}

Status parse_arm_general(std::string_view message, Registers& into) {
  constexpr std::size_t kNumbered = kArmRegisters - 3;
  std::vector<std::uint64_t> numbered;
  std::array<std::uint64_t, 3> others{};  // sp, pc, pstate
  Message in(message);
  while (in.next()) {
    in.take(1, numbered);
    if (in.field() >= 2 && in.field() <= 4) others[in.field() - 2] = in.number();
  }
  if (!in.ok()) return damaged("user_aarch64_regs_entry");
  numbered.resize(kNumbered);
  into.general = std::move(numbered);
  into.general.insert(into.general.end(), others.begin(), others.end());
  return Done{};
}

// 32 registers of two words, the low one first; fpsr, fpcr, and two words that are reserved.
Status parse_arm_floating(std::string_view message, Registers& into) {
  constexpr std::size_t kWords = 64;
  constexpr std::size_t kStateBytes = 528;
  std::vector<std::uint64_t> words;
  std::uint32_t status = 0;
  std::uint32_t control = 0;
  Message in(message);
  while (in.next()) {
    in.take(1, words);
    in.take(2, status);
    in.take(3, control);
  }
  if (!in.ok()) return damaged("user_aarch64_fpsimd_context_entry");
  words.resize(kWords);
  into.floating.clear();
  for (const std::uint64_t word : words) put(into.floating, word, 8);
  put(into.floating, status, 4);
  put(into.floating, control, 4);
  into.floating.resize(kStateBytes, '\0');
  return Done{};
}

Result<Registers> parse_aarch64(std::string_view message) {
  Registers registers;
  Message in(message);
  while (in.next()) {
    Status part = Done{};
    in.take(2, registers.tls);
    if (in.field() == 3) part = parse_arm_general(in.bytes(), registers);
    if (in.field() == 4) part = parse_arm_floating(in.bytes(), registers);
    if (!part) return std::move(part).error();
  }
  if (in.ok() && registers.general.empty())
    return Error{Errc::not_found, "thread_info_aarch64: no registers"};
  return whole(in, std::move(registers), "thread_info_aarch64");
}

// signal_queue_entry: raw siginfo_t, whose first word is the number of the signal.
Result<std::uint64_t> parse_pending(std::string_view message) {
  constexpr unsigned kMostSignal = 64;
  std::uint64_t mask = 0;
  bool fine = true;
  Message in(message);
  while (in.next()) {
    if (in.field() != 1) continue;
    Message entry(in.bytes());
    while (entry.next()) {
      if (entry.field() != 1) continue;
      const std::string_view info = entry.bytes();
      if (info.size() < 4) continue;
      unsigned number = 0;
      for (std::size_t i = 4; i-- > 0;) number = number << 8 | static_cast<unsigned char>(info[i]);
      if (number >= 1 && number <= kMostSignal) mask |= std::uint64_t{1} << (number - 1);
    }
    fine = fine && entry.ok();
  }
  if (!fine) return damaged("siginfo_entry");
  return whole(in, mask, "signal_queue_entry");
}

struct SignalFields {  // task_core_entry and thread_core_entry have the same under other numbers
  std::uint32_t blocked, pending;
  std::string_view name;
};

Status parse_signals(std::string_view message, const SignalFields& fields, ThreadState& into,
                     std::uint64_t& pending) {
  constexpr std::uint32_t kTaskFlags = 4;
  const bool of_task = &pending == &into.task_pending_signals;
  Message in(message);
  while (in.next()) {
    in.take(fields.blocked, into.blocked_signals);
    if (of_task) in.take(kTaskFlags, into.task_flags);
    if (in.field() == fields.pending) {
      auto mask = parse_pending(in.bytes());
      if (!mask) return std::move(mask).error();
      pending = *mask;
    }
  }
  if (!in.ok()) return damaged(fields.name);
  return Done{};
}

}  // namespace

Result<ThreadState> parse_thread_state(std::string_view core_file) {
  auto message = only_entry(core_file, Kind::core);
  if (!message) return std::move(message).error();
  ThreadState state;
  std::optional<std::string_view> x86;
  std::optional<std::string_view> aarch64;
  std::optional<std::string_view> task;
  std::optional<std::string_view> thread;
  Message in(*message);
  while (in.next()) {
    in.take(1, state.machine);
    if (in.field() == 2) x86 = in.bytes();
    if (in.field() == 3) task = in.bytes();
    if (in.field() == 5) thread = in.bytes();
    if (in.field() == 8) aarch64 = in.bytes();
  }
  if (!in.ok()) return damaged("core_entry");
  // The mask of the task is that of its first thread, from before each had its own.
  if (task) {
    auto read = parse_signals(*task, {5, 10, "task_core_entry"}, state, state.task_pending_signals);
    if (!read) return std::move(read).error();
  }
  if (thread) {
    auto read = parse_signals(*thread, {6, 9, "thread_core_entry"}, state, state.pending_signals);
    if (!read) return std::move(read).error();
  }
  const auto take = [&](Result<Registers> read) -> Status {
    if (!read) return std::move(read).error();
    state.registers = *std::move(read);
    return Done{};
  };
  Status taken = Done{};
  if (state.machine == kMachineX86 && x86) taken = take(parse_x86(*x86));
  if (state.machine == kMachineAarch64 && aarch64) taken = take(parse_aarch64(*aarch64));
  if (!taken) return std::move(taken).error();
  return state;
}

}  // namespace ctriage::criu
