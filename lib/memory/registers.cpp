// proc_pid_syscall(5), fs/proc/base.c proc_pid_syscall:
//
//   syscall = "running" | number " " sp " " pc | number { " " argument } " " sp " " pc
//
// The short form has number -1: the thread waits outside of a system call. With it stand six arguments. The
// number is decimal, all else is hexadecimal with 0x.
#include "lib/memory/registers.h"

#include "lib/core/text.h"

namespace ctriage::memory {

std::optional<elf::CallRegisters> parse_call(std::string_view text) {
  const auto fields = split_fields(trim(text));
  elf::CallRegisters registers;
  const bool in_call = fields.size() == 3 + registers.arguments.size();
  if (!in_call && fields.size() != 3) return std::nullopt;
  const auto number = parse_number<std::int64_t>(fields[0]);
  if (!number || (*number < 0) == in_call) return std::nullopt;
  if (in_call) registers.number = static_cast<std::uint64_t>(*number);

  bool ok = true;
  const auto word = [&](std::string_view field) {
    const auto value =
        field.starts_with("0x") ? parse_number<std::uint64_t>(field.substr(2), 16) : std::nullopt;
    ok = ok && value;
    return value.value_or(0);
  };
  for (std::size_t i = 0; in_call && i < registers.arguments.size(); ++i)
    registers.arguments[i] = word(fields[i + 1]);
  registers.stack_pointer = word(fields[fields.size() - 2]);
  registers.instruction_pointer = word(fields[fields.size() - 1]);
  if (!ok) return std::nullopt;
  return registers;
}

}  // namespace ctriage::memory
