#pragma once
// Filters of system calls, seccomp(2): seccomp.img, and what its programs of classic BPF say. The kernel took
// them once, but an image may hold anything.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::criu {

struct SeccompEntry {
  std::string_view program;
  std::optional<std::uint32_t> previous;  // number of the filter that was set before, in this image
  std::uint32_t flags = 0;                // SECCOMP_FILTER_FLAG_*
};
// By their numbers, from 0.
Result<std::vector<SeccompEntry>> parse_seccomp(std::string_view file);

struct BpfInstruction {  // struct sock_filter of linux/filter.h
  std::uint16_t code = 0;
  std::uint8_t if_true = 0, if_false = 0;  // instructions that are passed over
  std::uint32_t k = 0;
};
constexpr std::size_t kMaxBpfInstructions = 4'096;  // BPF_MAXINSNS
// Errc::malformed: not whole instructions, a jump behind the end; limit.
Result<std::vector<BpfInstruction>> parse_bpf(std::string_view program);

// A line for each: "12: if A == 59 (execve) goto 20, else 13". Calls are named where the program has asked
// for this machine, or for none. `machine`: Core::machine.
std::vector<std::string> list_bpf(const std::vector<BpfInstruction>& program, std::uint32_t machine);

struct SeccompAnswers {
  struct Group {                       // calls that get the same answer
    std::vector<std::string> actions;  // several: it hangs on the arguments, or on what cannot be known
    std::vector<std::string_view> calls;
  };
  std::vector<Group> groups;               // those of `otherwise` are left out
  std::vector<std::string> otherwise;      // for a number that no call has
  std::vector<std::string> other_machine;  // for the machine's 32-bit calls; none: not known
};
// What it answers to each call of the machine: every way through the program that the call's number leaves
// open is followed. Takes from `steps`; Errc::limit: there were not enough. Errc::unsupported: the machine's
// calls are not known here.
Result<SeccompAnswers> answers_of(const std::vector<BpfInstruction>& program, std::uint32_t machine,
                                  std::size_t& steps);

}  // namespace ctriage::criu
