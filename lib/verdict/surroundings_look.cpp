// Mappings, sockets and mounts.
#include <algorithm>
#include <array>

#include "lib/core/path.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

// What runtimes mount whatever the spec asks for, and what they mask with.
constexpr std::array<std::string_view, 5> kOfRuntime{"/proc", "/sys", "/dev", "/etc/mtab",
                                                     "/run/.containerenv"};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

}  // namespace

bool is_anonymous_code(const Mapping& mapping) {
  if (mapping.protection.find('x') == std::string::npos || mapping.inode.value != 0) return false;
  const std::string_view path = mapping.path.view();
  return path.empty() || path == "[heap]" || path.starts_with("[stack") || path.starts_with("[anon");
}

bool has_copied_code(const Mapping& mapping) {
  constexpr std::uint64_t kPage = 4'096;
  const std::string_view path = mapping.path.view();
  return mapping.protection == "r-xp" && mapping.dumped_bytes.value_or(0) > kPage && path.starts_with('/') &&
         !path.ends_with(" (deleted)");
}

Seen look_at(const Socket& socket) {
  Seen seen;
  if (socket.state == "LISTEN" && socket.family.starts_with("tcp")) seen.traits.emplace_back("listens");
  return seen;
}

Seen look_at(const Mount& mount, const Container& container) {
  Seen seen;
  const std::string_view at = mount.mountpoint.view();
  if (at.starts_with("/proc/") && is_number(at.substr(6))) seen.traits.emplace_back("hides_process");
  if (container.mounts.empty() || at == "/") return seen;  // no spec was read
  const auto is_known = [at](std::string_view directory) { return is_at_or_below(at, directory); };
  // A mount that the spec asks for brings those below its source with it (rbind).
  const bool asked = std::ranges::any_of(
      container.mounts, [&](const HostMount& known) { return is_known(known.destination.view()); });
  if (!asked && std::ranges::none_of(kOfRuntime, is_known)) seen.traits.emplace_back("not_in_spec");
  return seen;
}

}  // namespace ctriage::verdict
