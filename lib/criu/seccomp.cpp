// seccomp.proto of CRIU 4.2; classic BPF: linux/filter.h, linux/bpf_common.h, and of its instructions those
// that kernel/seccomp.c, seccomp_check_filter(), lets pass.
#include "lib/criu/seccomp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/criu/bpf.h"
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"
#include "lib/criu/syscalls.h"

namespace ctriage::criu {
namespace {

using namespace bpf;

constexpr std::size_t kInstructionBytes = 8;
constexpr Arch kArchs[] = {{kMachineX86, 0xc000003e, 0x40000003}, {kMachineAarch64, 0xc00000b7, 0x40000028}};

std::string arch_name(std::uint32_t audit) {
  struct Name {
    std::uint32_t audit;
    std::string_view name;
  };
  constexpr Name kNames[] = {{0xc000003e, "x86_64"},  {0x40000003, "i386"},       {0xc00000b7, "aarch64"},
                             {0x40000028, "arm"},     {0xc0000015, "ppc64le"},    {0x80000016, "s390x"},
                             {0xc00000f3, "riscv64"}, {0xc0000102, "loongarch64"}};
  const auto* found = std::ranges::find(kNames, audit, &Name::audit);
  return found == std::end(kNames) ? std::string() : std::string(found->name);
}

std::string data_text(std::uint32_t offset) {
  constexpr std::uint32_t kArgumentsAt = 16;
  if (offset == kNumberAt) return "call";
  if (offset == kArchAt) return "machine";
  const std::string_view half = offset % 8 == 0 ? " low" : " high";
  if (offset < kArgumentsAt) return "address" + std::string(half);
  return "argument " + std::to_string((offset - kArgumentsAt) / 8) + std::string(half);
}

bool is_known(const BpfInstruction& one) {
  constexpr std::array<std::uint16_t, 33> kCodes{
      0x20, 0x80, 0x81, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x06, 0x16, 0x07, 0x87, 0x04, 0x0c, 0x14, 0x1c,
      0x24, 0x2c, 0x34, 0x3c, 0x54, 0x5c, 0x44, 0x4c, 0xa4, 0xac, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x05};
  constexpr std::array<std::uint16_t, 8> kJumps{0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d};
  return std::ranges::find(kCodes, one.code) != kCodes.end() ||
         std::ranges::find(kJumps, one.code) != kJumps.end();
}

std::string_view alu_text(std::uint32_t operation) {
  switch (operation) {
    case 0x00:
      return "+";
    case 0x10:
      return "-";
    case 0x20:
      return "*";
    case 0x30:
      return "/";
    case 0x40:
      return "|";
    case 0x50:
      return "&";
    case 0x60:
      return "<<";
    case 0x70:
      return ">>";
    default:
      return "^";
  }
}

// What A holds at an instruction, and for which machine it is reached; jumps only go on.
struct Meaning {
  enum class Of : std::uint8_t { nothing, call, machine, other } a = Of::nothing;  // nothing: never reached
  std::optional<std::uint32_t> arch;  // of the calls that come here, where it was asked for

  void join(const Meaning& with) {
    if (a == Of::nothing) {
      *this = with;
    } else {
      if (a != with.a) a = Of::other;
      if (arch != with.arch) arch.reset();
    }
  }
};

std::vector<Meaning> meanings_of(const std::vector<BpfInstruction>& program) {
  std::vector<Meaning> at(program.size());
  if (at.empty()) return at;
  at[0].a = Meaning::Of::other;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const BpfInstruction& one = program[i];
    Meaning next = at[i];
    if (next.a == Meaning::Of::nothing || class_of(one) == Class::ret) continue;
    const auto reach = [&](std::size_t target, const Meaning& meaning) {
      if (target < at.size()) at[target].join(meaning);
    };
    if (class_of(one) == Class::jmp) {
      if (operation_of(one) == kJumpAlways) {
        reach(i + 1 + one.k, next);
        continue;
      }
      Meaning then = next;
      if (next.a == Meaning::Of::machine && operation_of(one) == kJumpEqual && !takes_x(one))
        then.arch = one.k;
      reach(i + 1 + one.if_true, then);
      reach(i + 1 + one.if_false, next);
      continue;
    }
    if (class_of(one) == Class::ld) {
      const bool data = mode_of(one) == kAbsolute;
      next.a = data && one.k == kNumberAt ? Meaning::Of::call
               : data && one.k == kArchAt ? Meaning::Of::machine
                                          : Meaning::Of::other;
    } else if (class_of(one) == Class::alu || one.code == kMoveXToA) {
      next.a = Meaning::Of::other;
    }
    reach(i + 1, next);
  }
  return at;
}

std::string jump_text(const BpfInstruction& one, std::size_t at, const Meaning& meaning,
                      const std::map<std::uint32_t, std::string_view>& names, const Arch* arch) {
  if (operation_of(one) == kJumpAlways) return fmt::format("goto {}", at + 1 + one.k);
  const std::uint32_t operation = operation_of(one);
  const std::string_view sign = operation == kJumpEqual          ? "=="
                                : operation == kJumpGreater      ? ">"
                                : operation == kJumpGreaterEqual ? ">="
                                                                 : "&";
  std::string with = takes_x(one) ? std::string("X") : fmt::format("0x{:x}", one.k);
  if (!takes_x(one) && meaning.a == Meaning::Of::call) {
    with = std::to_string(one.k);
    const auto name = names.find(one.k);
    const bool of_this = !meaning.arch || (arch != nullptr && *meaning.arch == arch->audit);
    if (of_this && name != names.end()) with += " (" + std::string(name->second) + ")";
  } else if (!takes_x(one) && meaning.a == Meaning::Of::machine && !arch_name(one.k).empty()) {
    with += " (" + arch_name(one.k) + ")";
  }
  return fmt::format("if A {} {} goto {}, else {}", sign, with, at + 1 + one.if_true, at + 1 + one.if_false);
}

std::string instruction_text(const BpfInstruction& one) {
  const std::string number = fmt::format("0x{:x}", one.k);
  if (!is_known(one)) return fmt::format("not an instruction of seccomp: {:04x} {}", one.code, number);
  const std::string_view into = class_of(one) == Class::ldx ? "X" : "A";
  switch (class_of(one)) {
    case Class::ld:
    case Class::ldx:
      if (mode_of(one) == kAbsolute) return "A = " + data_text(one.k);
      if (mode_of(one) == kMemory) return fmt::format("{} = M[{}]", into, one.k);
      return fmt::format("{} = {}", into, mode_of(one) == kLength ? std::to_string(kDataBytes) : number);
    case Class::st:
      return fmt::format("M[{}] = A", one.k);
    case Class::stx:
      return fmt::format("M[{}] = X", one.k);
    case Class::alu:
      if (operation_of(one) == kNegate) return "A = -A";
      return fmt::format("A {}= {}", alu_text(operation_of(one)), takes_x(one) ? "X" : number);
    case Class::ret:
      return "return " + (returns_a(one) ? std::string("A") : action_text(one.k));
    case Class::misc:
      return one.code == kMoveXToA ? "A = X" : "X = A";
    case Class::jmp:
      break;
  }
  return {};
}

}  // namespace

namespace bpf {

const Arch* arch_of(std::uint32_t machine) {
  const auto* found = std::ranges::find(kArchs, machine, &Arch::machine);
  return found == std::end(kArchs) ? nullptr : found;
}

// The upper half is the action, the lower its data; what the kernel does not know kills the process.
std::string action_text(std::uint32_t value) {
  constexpr std::uint32_t kMask = 0xffff0000;
  const std::uint32_t data = value & ~kMask;
  switch (value & kMask) {
    case 0x7fff0000:
      return "allow";
    case 0x7ffc0000:
      return "log";
    case 0x7ff00000:
      return "trace " + std::to_string(data);
    case 0x7fc00000:
      return "notify";
    case 0x00050000:
      return "errno " + std::to_string(data);
    case 0x00030000:
      return "trap " + std::to_string(data);
    case 0:
      return "kill thread";
    default:
      return "kill process";
  }
}

}  // namespace bpf

Result<std::vector<SeccompEntry>> parse_seccomp(std::string_view file) {
  auto message = only_entry(file, Kind::seccomp);
  if (!message) return std::move(message).error();
  std::vector<SeccompEntry> entries;
  Message in(*message);
  while (in.next()) {
    if (in.field() != 1) continue;
    if (entries.size() >= kMaxSeccompFilters)
      return Error{Errc::limit, "over " + std::to_string(kMaxSeccompFilters) + " seccomp filters"};
    SeccompEntry entry;
    Message filter(in.bytes());
    while (filter.next()) {
      if (filter.field() == 1) entry.program = filter.bytes();
      filter.take(2, entry.previous);
      filter.take(3, entry.flags);
    }
    if (!filter.ok()) return damaged("seccomp_filter");
    entries.push_back(entry);
  }
  return whole(in, std::move(entries), "seccomp_entry");
}

Result<std::vector<BpfInstruction>> parse_bpf(std::string_view text) {
  if (text.size() % kInstructionBytes != 0)
    return Error{Errc::malformed,
                 fmt::format("a BPF program of {} bytes: no whole instructions", text.size())};
  if (text.size() / kInstructionBytes > kMaxBpfInstructions)
    return Error{Errc::limit, "a BPF program over " + std::to_string(kMaxBpfInstructions) + " instructions"};
  ByteCursor in(std::as_bytes(std::span(text.data(), text.size())));
  std::vector<BpfInstruction> program;
  while (!in.at_end()) {
    BpfInstruction& one = program.emplace_back();
    one.code = in.u16();
    one.if_true = in.u8();
    one.if_false = in.u8();
    one.k = in.u32();
  }
  const std::size_t size = program.size();
  for (std::size_t i = 0; i < size; ++i) {
    const BpfInstruction& one = program[i];
    std::uint64_t furthest = i + 1;
    if (class_of(one) == Class::ret) continue;
    if (class_of(one) == Class::jmp)
      furthest += operation_of(one) == kJumpAlways ? one.k : std::max(one.if_true, one.if_false);
    if (furthest >= size)
      return Error{Errc::malformed,
                   fmt::format("a BPF program of {} instructions: {} leads out of it", size, i)};
  }
  return program;
}

std::vector<std::string> list_bpf(const std::vector<BpfInstruction>& program, std::uint32_t machine) {
  std::map<std::uint32_t, std::string_view> names;
  for (const Syscall& call : syscalls_of(machine)) names[call.number] = call.name;
  const auto meanings = meanings_of(program);
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const bool jump = class_of(program[i]) == Class::jmp && is_known(program[i]);
    lines.push_back(fmt::format("{}: {}", i,
                                jump ? jump_text(program[i], i, meanings[i], names, arch_of(machine))
                                     : instruction_text(program[i])));
  }
  return lines;
}

}  // namespace ctriage::criu
