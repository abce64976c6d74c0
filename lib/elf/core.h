#pragma once
// Writes ELF core files, core(5) and elf(5), as a stream: the head tells where everything will lie, then the
// data of the segments follows in their order. What gdb, lldb, elfutils and drgn need in it was measured: one
// NT_PRPSINFO, an NT_PRSTATUS a thread, NT_AUXV and NT_FILE. Sets of registers follow their NT_PRSTATUS.
//
//   core     = ehdr, phdr of the notes, phdr of each segment, [ shdr 0 ], notes, zeros up to a page, data
//   note     = namesz, descsz, type (4 bytes each), name, desc; both padded to 4 bytes
//   shdr 0   = only where the number of phdrs does not fit into 16 bits: it has it then (PN_XNUM)
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/stream.h"

namespace ctriage::elf {

enum class Machine : std::uint8_t { x86_64, aarch64 };
Machine native_machine();

// What a thread that waits in a system call has given the kernel: /proc/PID/task/TID/syscall,
// proc_pid_syscall(5).
struct CallRegisters {
  std::optional<std::uint64_t> number;  // none: it waits, but in no system call
  std::array<std::uint64_t, 6> arguments{};
  std::uint64_t stack_pointer = 0;
  std::uint64_t instruction_pointer = 0;
};

// What a thread that was stopped had in its registers: sets as ptrace(2) PTRACE_GETREGSET gives them. Views:
// they are the caller's.
struct RegisterSets {
  std::span<const std::uint64_t> general;  // NT_PRSTATUS: struct user_regs_struct, struct user_pt_regs
  std::string_view floating;               // NT_PRFPREG; empty: none
  std::string_view extended;               // NT_X86_XSTATE; empty: none
  std::optional<std::uint64_t> tls;        // NT_ARM_TLS; x86-64 has it among the general ones
};

struct ProcessNote {  // NT_PRPSINFO: struct elf_prpsinfo of linux/elfcore.h
  char state = '?';
  std::uint64_t flags = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::int32_t pgrp = 0;
  std::int32_t session = 0;
  std::string_view name;       // cut at 15 bytes
  std::string_view arguments;  // cut at 79 bytes
};

struct ThreadNote {  // NT_PRSTATUS: struct elf_prstatus
  std::int32_t tid = 0;
  std::int32_t ppid = 0;
  std::int32_t pgrp = 0;
  std::int32_t session = 0;
  std::optional<CallRegisters> registers;  // zeros without; what is not in here is zero as well
  std::optional<RegisterSets> sets = {};   // instead of these
  std::uint64_t pending_signals = 0;       // signal(7), by bit: signal 1 is the lowest
  std::uint64_t blocked_signals = 0;
};

struct FileNote {  // an entry of NT_FILE
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset_bytes = 0;
  std::string_view path;
};

// The notes, in the order in which they are added: the process, its main thread, then what is of the process,
// then the other threads, as the kernel has it.
class Notes {
 public:
  explicit Notes(Machine machine) : machine_(machine) {}
  void add_process(const ProcessNote& process);
  void add_thread(const ThreadNote& thread);
  void add_auxv(std::string_view bytes);
  void add_signal();  // NT_SIGINFO of no signal
  // Errc::limit where they do not fit into kMaxFileNoteBytes: none is added then.
  Status add_files(const std::function<void(const std::function<void(const FileNote&)>&)>& each,
                   std::uint64_t page_bytes);
  [[nodiscard]] std::string_view bytes() const { return bytes_; }
  [[nodiscard]] Machine machine() const { return machine_; }

 private:
  static constexpr std::string_view kCore{"CORE"};
  static constexpr std::string_view kLinux{"LINUX"};
  void add(std::uint32_t type, std::string_view desc, std::string_view name = kCore);
  Machine machine_;
  std::string bytes_;
};

constexpr std::size_t kMaxFileNoteBytes = 16 << 20;

struct Segment {
  std::uint64_t start = 0;
  std::uint64_t size_bytes = 0;
  bool has_data = false;  // else a hole: readers see zeros, or the mapped file's bytes
  bool readable = false;
  bool writable = false;
  bool executable = false;
};
using TakeSegment = std::function<void(const Segment&)>;
using EachSegment = std::function<void(const TakeSegment&)>;

// Everything before the data. `each` hands over all segments, in the order of their addresses, and is called
// more than once. The offset at which the data begins, whose bytes the caller writes next.
Result<std::uint64_t> write_head(const Notes& notes, const EachSegment& each, std::uint64_t page_bytes,
                                 ByteSink& out);

}  // namespace ctriage::elf
