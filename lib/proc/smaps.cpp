// proc_pid_smaps(5), fs/proc/task_mmu.c show_smap:
//
//   smaps   = { mapping }
//   mapping = line of maps, { key ":" blanks value newline }       keys begin with a capital letter
//   VmFlags = "VmFlags:" { " " two letters }                       the last of a mapping
#include "lib/proc/smaps.h"

#include <optional>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

VmFlags parse_flags(std::string_view value) {
  VmFlags flags;
  flags.known = true;
  for (const std::string_view flag : split_fields(value)) {
    flags.io |= flag == "io";
    flags.pfn |= flag == "pf";
    flags.mixed |= flag == "mm";
    flags.userfault |= flag == "um";
    flags.huge |= flag == "ht";
  }
  return flags;
}

bool is_key(std::string_view line) { return !line.empty() && line.front() >= 'A' && line.front() <= 'Z'; }

}  // namespace

Status parse_smaps(ByteSource& in, std::int32_t pid, const TakeMapping& take, Task& task) {
  const std::string origin = origin_of(pid) + "/smaps";
  LineReader lines(in, kMaxLineBytes);
  std::string_view line;
  std::optional<Mapping> mapping;
  VmFlags flags;
  const auto hand_over = [&]() -> Status {
    if (!mapping) return Done{};
    return take(*std::exchange(mapping, std::nullopt), std::exchange(flags, {}));
  };
  for (;;) {
    auto more = lines.next(line);
    if (!more && more.error().code == Errc::limit) {  // skipped; the next line can be read
      if (auto taken = hand_over(); !taken) return taken;
      task.gaps.add(gap_of("mappings", origin, std::move(more).error()));
      continue;
    }
    if (!more) return std::move(more).error();
    if (!*more) return hand_over();
    if (is_key(line)) {
      constexpr std::string_view kFlags = "VmFlags:";
      if (line.starts_with(kFlags)) flags = parse_flags(line.substr(kFlags.size()));
      continue;
    }
    if (auto taken = hand_over(); !taken) return taken;
    auto parsed = parse_maps_line(line);
    if (!parsed) {
      task.gaps.add(
          gap_of("mappings", origin + "+" + std::to_string(lines.offset()), std::move(parsed).error()));
      continue;
    }
    mapping = *std::move(parsed);
    mapping->pid = pid;
  }
}

Status list_smaps(const Root& process, Readers& readers, std::int32_t pid, const TakeMapping& take,
                  Task& task) {
  const std::string thread = living_thread(process);
  auto source = readers.open(under(pid, thread.empty() ? "smaps" : thread + "/smaps"), task);
  const auto explained = [&](Error error) {
    if (is_gone(error))
      return Error{Errc::vanished, origin_of(pid) + ": ended while its mappings were read", error.number};
    return name_capability(std::move(error));
  };
  if (!source) return explained(std::move(source).error());
  // Opened by number: it was the process's then if it still is, as in list_mappings.
  if (auto still = process.stat_beneath("stat"); !still) return explained(std::move(still).error());
  auto parsed = parse_smaps(**source, pid, take, task);
  if (!parsed) return explained(std::move(parsed).error());
  return Done{};
}

}  // namespace ctriage::proc
