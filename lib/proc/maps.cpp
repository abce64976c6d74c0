// /proc/PID/maps, proc_pid_maps(5), fs/proc/task_mmu.c show_map_vma:
//
//   line = start "-" end " " perms " " offset " " major ":" minor " " inode [ blanks path ]      numbers hex,
//   inode decimal
//
// The path is the rest of the line, whatever it holds. The kernel writes a newline in it as \012 but leaves a
// backslash alone, so undoing that would be a guess: the path is kept as the kernel gave it.
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

Error bad(std::string_view what) { return {Errc::malformed, std::string("maps: ").append(what)}; }

bool is_protection(std::string_view text) {
  return text.size() == 4 && (text[0] == 'r' || text[0] == '-') && (text[1] == 'w' || text[1] == '-') &&
         (text[2] == 'x' || text[2] == '-') && (text[3] == 'p' || text[3] == 's');
}

}  // namespace

Result<Mapping> parse_maps_line(std::string_view line) {
  std::string_view rest = line;
  const std::string_view range = next_field(rest);
  const std::string_view protection = next_field(rest);
  const std::string_view offset = next_field(rest);
  const std::string_view device = next_field(rest);
  const std::string_view inode = next_field(rest);

  Mapping mapping;
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return bad("no address range");
  const auto start = parse_number<std::uint64_t>(range.substr(0, dash), 16);
  const auto end = parse_number<std::uint64_t>(range.substr(dash + 1), 16);
  if (!start || !end || *end < *start) return bad("no address range");
  if (!is_protection(protection)) return bad("no protection like r-xp");
  const auto file_offset = parse_number<std::uint64_t>(offset, 16);
  if (!file_offset) return bad("no offset");
  const std::size_t colon = device.find(':');
  if (colon == std::string_view::npos) return bad("no device");
  const auto major = parse_number<std::uint32_t>(device.substr(0, colon), 16);
  const auto minor = parse_number<std::uint32_t>(device.substr(colon + 1), 16);
  if (!major || !minor) return bad("no device");
  const auto inode_number = parse_number<std::uint64_t>(inode);
  if (!inode_number) return bad("no inode");

  mapping.start = Hex{*start};
  mapping.end = Hex{*end};
  mapping.protection = protection;
  mapping.offset_bytes = *file_offset;
  mapping.device = device_id(*major, *minor);
  mapping.inode = Hex{*inode_number};
  const std::size_t path = rest.find_first_not_of(' ');
  if (path != std::string_view::npos) mapping.path = Bytes(std::string(rest.substr(path)));
  return mapping;
}

Status list_mappings(const Root& process, Readers& readers, std::int32_t pid, const Emit<Mapping>& emit,
                     Task& task) {
  const std::string origin = origin_of(pid) + "/maps";
  const std::string thread = living_thread(process);
  auto source = readers.open(under(pid, thread.empty() ? "maps" : thread + "/maps"), task);
  if (!source) {
    if (is_gone(source.error())) {
      return Error{Errc::vanished, origin_of(pid) + ": no such process", source.error().number};
    }
    return name_capability(std::move(source).error());
  }
  // The reader opens it by number. An open maps stays with its address space, so the number was the process's
  // then if it still is.
  if (auto still = process.stat_beneath("stat"); !still) {
    if (!is_gone(still.error())) return std::move(still).error();
    return Error{Errc::vanished, origin_of(pid) + ": ended before its maps were read", still.error().number};
  }
  LineReader lines(**source, kMaxLineBytes);
  std::string_view line;
  for (;;) {
    auto more = lines.next(line);
    if (!more) {
      if (more.error().code == Errc::limit) {  // skipped; the next line can be read
        task.gaps.add(gap_of("mappings", origin, std::move(more).error()));
        continue;
      }
      if (is_gone(more.error())) {
        return Error{Errc::vanished, origin_of(pid) + ": ended while its maps were read",
                     more.error().number};
      }
      return name_capability(std::move(more).error());
    }
    if (!*more) return Done{};
    auto mapping = parse_maps_line(line);
    if (!mapping) {
      task.gaps.add(
          gap_of("mappings", origin + "+" + std::to_string(lines.offset()), std::move(mapping).error()));
      continue;
    }
    mapping->pid = pid;
    auto taken = emit(*std::move(mapping));
    if (!taken) return taken;
  }
}

}  // namespace ctriage::proc
