#pragma once
// What is known of each stretch of a process's memory, and what `dump` says.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class PageState : std::uint8_t {
  data,
  zero,
  hole,
  file,
  shared,
  swapped,
  guard,
  device,
  unreadable,
  timeout,
  vanished,
};
constexpr auto enum_names(PageState) {
  return std::array<std::string_view, 11>{"data",  "zero",   "hole",       "file",    "shared",  "swapped",
                                          "guard", "device", "unreadable", "timeout", "vanished"};
}

struct PageRange {
  std::int32_t pid = 0;
  Hex start;
  Hex end;  // one past the last address
  PageState state = PageState::hole;
  std::string protection;
  std::uint64_t offset_bytes = 0;  // into the mapped file
  Hex device;
  Hex inode;
  Bytes path;
  std::optional<std::uint64_t> core_offset_bytes;
  std::optional<std::int32_t> shared_with;
  std::optional<std::string> reason;
  bool frozen = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("pid", self.pid, "process");
    v("start", self.start, "first address");
    v("end", self.end, "one past the last address");
    v("state", self.state,
      "data: its bytes are in the core; zero: the kernel's page of zeros; hole: nothing is there, of "
      "anonymous "
      "memory zeros; file: as in the file that is mapped, left out; shared: in the core of shared_with; "
      "swapped: "
      "in swap, left there; guard: whoever touches it gets SIGSEGV; device: registers or memory of a device, "
      "or "
      "the kernel's, never read; unreadable: the kernel refused; timeout: it did not answer; vanished: gone "
      "since it was listed");
    v("protection", self.protection, "rwxp or rwxs with - for what is not allowed");
    v("offset_bytes", self.offset_bytes, "of start in the mapped file");
    v("device", self.device, "major << 32 | minor");
    v("inode", self.inode, "0: anonymous");
    v("path", self.path, "mapped file, [heap], [stack] or empty");
    v("core_offset_bytes", self.core_offset_bytes,
      "where in the core its bytes are; of what could not be read zeros stand there");
    v("shared_with", self.shared_with, "the process whose core has these pages of the same object");
    v("reason", self.reason, "why it is not data, where that is not plain");
    v("frozen", self.frozen, "the process stood still when it was read");
  }
};

struct DumpedProcess {
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  Bytes exe;
  Bytes core;
  Bytes pages;
  bool complete = false;
  std::string sha256;
  std::string pages_sha256;
  std::uint64_t size_bytes = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t left_bytes = 0;
  std::uint64_t lost_bytes = 0;
  std::uint64_t mapped_bytes = 0;
  std::uint64_t segments = 0;
  std::uint64_t threads = 0;
  std::uint64_t threads_with_registers = 0;
  std::int64_t took_ns = 0;
  bool frozen = false;
  std::int64_t frozen_ns = 0;
  std::int64_t stopped_ns = 0;
  Bytes opens_with;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("pid", self.pid, "process");
    v("start_ticks", self.start_ticks, "clock ticks after boot, proc_pid_stat(5) field 22");
    v("exe", self.exe, "/proc/PID/exe");
    v("core", self.core, "the ELF core");
    v("pages", self.pages, "what is known of each stretch: lines of page_range");
    v("complete", self.complete, "nothing of what was to be read was lost");
    v("sha256", self.sha256, "of the core");
    v("pages_sha256", self.pages_sha256, "of the file of the ranges");
    v("size_bytes", self.size_bytes, "of the core");
    v("data_bytes", self.data_bytes, "of memory in it");
    v("left_bytes", self.left_bytes, "there and left out: as in files, shared, in swap, of devices");
    v("lost_bytes", self.lost_bytes, "unreadable, timeout and vanished");
    v("mapped_bytes", self.mapped_bytes, "of addresses");
    v("segments", self.segments, "of the core");
    v("threads", self.threads, "in the core");
    v("threads_with_registers", self.threads_with_registers, "of which the stack pointer is known");
    v("took_ns", self.took_ns, "to scan, read, hash and write it");
    v("frozen", self.frozen, "all of it is of one moment: the process stood still");
    v("frozen_ns", self.frozen_ns, "stopped by us; 0 where it was frozen already");
    v("stopped_ns", self.stopped_ns, "its threads, in groups one after the other, for their registers");
    v("opens_with", self.opens_with, "the gdb command, on this node, while the process lives");
  }
};

struct DumpResult {
  Bytes target;
  std::vector<DumpedProcess> processes;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("processes", self.processes, "those whose memory was written");
    v("gaps", self.gaps, "what is missing; of many of a kind the first, and a count of the rest");
  }
};

template <>
inline constexpr std::string_view kKind<PageRange> = "page_range";
template <>
inline constexpr std::string_view kKind<DumpedProcess> = "dumped_process";
template <>
inline constexpr std::string_view kKind<DumpResult> = "dump";

}  // namespace ctriage
