#pragma once
// What the parts of seccomp.h share: instructions of classic BPF taken apart. Not for other modules.
#include <cstdint>
#include <string>

#include "lib/criu/seccomp.h"

namespace ctriage::criu::bpf {

constexpr std::uint32_t kWords = 16;  // BPF_MEMWORDS

// struct seccomp_data.
constexpr std::uint32_t kNumberAt = 0;
constexpr std::uint32_t kArchAt = 4;
constexpr std::uint32_t kDataBytes = 64;

struct Arch {
  std::uint32_t machine, audit, audit_32;  // AUDIT_ARCH_* of linux/audit.h
};
// Null: not one whose calls are known here. `machine`: Core::machine.
const Arch* arch_of(std::uint32_t machine);
// "allow", "errno 1" of what a filter returns.
std::string action_text(std::uint32_t value);

// Parts of an instruction's code, linux/bpf_common.h.
enum class Class : std::uint8_t { ld, ldx, st, stx, alu, jmp, ret, misc };
inline Class class_of(const BpfInstruction& one) { return static_cast<Class>(one.code & 0x07U); }
inline std::uint32_t mode_of(const BpfInstruction& one) { return one.code & 0xe0U; }
inline std::uint32_t operation_of(const BpfInstruction& one) { return one.code & 0xf0U; }
inline bool takes_x(const BpfInstruction& one) { return (one.code & 0x08U) != 0; }
inline bool returns_a(const BpfInstruction& one) { return (one.code & 0x18U) == 0x10U; }
constexpr std::uint32_t kAbsolute = 0x20;
constexpr std::uint32_t kMemory = 0x60;
constexpr std::uint32_t kLength = 0x80;
constexpr std::uint32_t kJumpAlways = 0x00;
constexpr std::uint32_t kJumpEqual = 0x10;
constexpr std::uint32_t kJumpGreater = 0x20;
constexpr std::uint32_t kJumpGreaterEqual = 0x30;
constexpr std::uint32_t kNegate = 0x80;
constexpr std::uint16_t kMoveXToA = 0x87;

}  // namespace ctriage::criu::bpf
