#include "lib/collect/memory_choice.h"

#include <algorithm>
#include <map>

#include "lib/core/text.h"

namespace ctriage::collect {
namespace {

constexpr std::size_t kMaxProgramBytes = 200;  // for messages

// Empty: nothing speaks against it. A program of which it is not known where it is from is not named here:
// where layers cannot be read that is every one.
std::string own_suspicion(const MemoryMember& member) {
  if (member.origin == Origin::memfd) return "runs from memory";
  if (member.deleted || member.origin == Origin::deleted) return "runs a deleted program";
  switch (member.origin) {
    case Origin::upper:
    case Origin::tmpfs:
    case Origin::volume:
      return "runs a program that is not in the image (" + std::string(to_text(member.origin)) + ")";
    case Origin::host:
      if (member.membership != Membership::alone) return "runs a program of the node";
      break;
    default:
      break;
  }
  switch (member.membership) {
    case Membership::executed_in:
    case Membership::entered:
      return "came from outside";
    case Membership::escaped:
      return "left the container";
    default:
      break;
  }
  if (member.foreign_library) return "has mapped a library that is not in the image";
  return member.anonymous_code ? "has executable memory that is no file's" : "";
}

}  // namespace

MemoryMember member_of(const Process& process, std::size_t container) {
  MemoryMember member;
  member.container = container;
  member.pid = process.pid;
  member.ppid = process.ppid;
  member.start_ticks = process.start_ticks;
  member.origin = process.exe.origin;
  member.deleted = process.exe.deleted;
  member.membership = process.membership;
  member.program = process.exe.path.raw.substr(0, kMaxProgramBytes);
  return member;
}

bool runs_foreign_program(const MemoryMember& member) {
  if (member.origin == Origin::host) return member.membership != Membership::alone;
  return member.deleted || (member.origin != Origin::image && member.origin != Origin::unknown);
}

bool is_anonymous_code(const Mapping& mapping) {
  if (mapping.protection.find('x') == std::string::npos) return false;
  const std::string& path = mapping.path.raw;
  // The kernel's own: everybody has them.
  if (path == "[vdso]" || path == "[vsyscall]" || path == "[uprobes]") return false;
  return !memory::is_named_file(mapping.inode.value, path);
}

std::vector<std::string> suspicions(std::span<const MemoryMember> members) {
  std::vector<std::string> why(members.size());
  std::multimap<std::int32_t, std::size_t> children;
  std::vector<std::size_t> to_do;
  for (std::size_t i = 0; i < members.size(); ++i) {
    why[i] = own_suspicion(members[i]);
    if (!why[i].empty()) to_do.push_back(i);
    children.emplace(members[i].ppid, i);
  }
  // Each member is entered once: parents that make a circle, read at different moments, end it all the same.
  while (!to_do.empty()) {
    const std::int32_t parent = members[to_do.back()].pid;
    to_do.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      if (!why[child->second].empty()) continue;
      why[child->second] = "was started by pid " + std::to_string(parent);
      to_do.push_back(child->second);
    }
  }
  return why;
}

std::uint64_t room_for_one(const MemoryOptions& options, std::uint64_t taken_bytes) {
  if (options.mode == MemoryMode::all) return UINT64_MAX;
  return std::min(options.each_bytes, options.max_bytes - std::min(options.max_bytes, taken_bytes));
}

std::optional<std::string> over_limit(const MemoryOptions& options, std::uint64_t bytes,
                                      std::uint64_t taken_bytes) {
  if (bytes <= room_for_one(options, taken_bytes)) return std::nullopt;
  const std::string take_it = ": left out by plan (take it: --memory all)";
  if (bytes > options.each_bytes)
    return "memory over --memory-each " + human_size(options.each_bytes) + take_it;
  return "memory over --memory-max " + human_size(options.max_bytes) + take_it;
}

// proc_pid_status(5): "RssAnon:     1234 kB".
ResidentParts parse_resident(std::string_view status) {
  ResidentParts parts;
  for (const std::string_view line : split(status, '\n')) {
    const auto fields = split_fields(line);
    if (fields.size() < 2) continue;
    const std::uint64_t bytes =
        std::min(parse_number<std::uint64_t>(fields[1]).value_or(0), UINT64_MAX / 1024) * 1024;
    if (fields[0] == "RssAnon:") parts.anonymous_bytes = bytes;
    if (fields[0] == "RssShmem:") parts.shared_bytes = bytes;
    if (fields[0] == "VmSwap:") parts.swapped_bytes = bytes;
  }
  return parts;
}

std::pair<bool, std::uint64_t> turn_of(const ResidentParts& parts) {
  return {parts.swapped_bytes > 0, parts.anonymous_bytes + parts.shared_bytes};
}

}  // namespace ctriage::collect
