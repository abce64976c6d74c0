#pragma once
// Names of system calls.
#include <cstdint>
#include <string_view>
#include <vector>

namespace ctriage::criu {

struct Syscall {
  std::uint32_t number = 0;
  std::string_view name;
};
// Those of a machine, by number; none: its numbers are not known here. `machine`: Core::machine.
std::vector<Syscall> syscalls_of(std::uint32_t machine);

}  // namespace ctriage::criu
