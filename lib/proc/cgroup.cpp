// /proc/PID/cgroup, cgroups(7), and which container a path in it names.
//
//   line = hierarchy ":" controllers ":" path                 path may hold ':'; never a newline, mkdir
//   refuses that
//
//   path of a container, seen from its end (systemd and cgroupfs drivers, v1 and v2):
//     .../kubepods[/besteffort|/burstable]/pod<uid>/<id>
//     .../kubepods-burstable-pod<uid with _>.slice/cri-containerd-<id>.scope       crio-, docker-, libpod-
//     alike
//     .../kubepods-burstable-pod<uid with _>.slice:cri-containerd:<id>             cgroupfs driver given a
//     systemd name
//   and below it /container, /init, /init.scope, /supervisor or a whole systemd tree made inside the
//   container.
#include <algorithm>

#include "lib/core/text.h"
#include "lib/proc/cgroup_rule.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::size_t kIdDigits = 64;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// 8-4-4-4-12 digits, or 32 without dashes: static pods, whose UID is an MD5 of the manifest.
bool is_uid(std::string_view text) {
  if (text.size() == 32) return is_hex(text);
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-') || (!dash && !is_hex(text.substr(i, 1)))) return false;
  }
  return true;
}

// "pod<uid>" or "...-pod<uid with _>.slice", the latter also before ":cri-containerd:<id>".
std::string pod_uid_of(std::string_view segment) {
  segment = segment.substr(0, segment.find(':'));
  if (segment.ends_with(".slice")) segment.remove_suffix(6);
  const std::size_t at = segment.rfind("pod");
  if (at == std::string_view::npos || (at > 0 && segment[at - 1] != '-')) return {};
  std::string uid(segment.substr(at + 3));
  for (char& c : uid) {
    if (c == '_') c = '-';
  }
  return is_uid(uid) ? uid : std::string{};
}

}  // namespace

std::string_view container_id_of(std::string_view segment) {
  segment = without_deleted(segment);  // the cgroup was removed while a process still ends in it
  if (segment.ends_with(".scope")) segment.remove_suffix(6);
  if (segment.size() < kIdDigits) return {};
  const std::string_view id = segment.substr(segment.size() - kIdDigits);
  if (!is_hex(id)) return {};
  const std::string_view before = segment.substr(0, segment.size() - kIdDigits);
  if (before.empty()) return id;
  // "libpod_pod_<id>" is a pod, "crio-conmon-<id>" and "libpod-conmon-<id>" hold the monitor outside the
  // container.
  if (before.ends_with("conmon-")) return {};
  return before.back() == '-' || before.back() == ':' ? id : std::string_view{};
}

std::vector<CgroupLine> parse_cgroup(std::string_view text) {
  std::vector<CgroupLine> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto hierarchy = parse_number<std::uint32_t>(line.substr(0, first));
    if (!hierarchy) continue;
    lines.push_back({*hierarchy, std::string(line.substr(first + 1, second - first - 1)),
                     std::string(line.substr(second + 1))});
  }
  return lines;
}

CgroupOwner parse_cgroup_owner(std::string_view path) {
  CgroupOwner owner;
  while (!path.empty() && owner.pod_uid.empty()) {
    const std::size_t slash = path.rfind('/');
    const std::string_view segment = slash == std::string_view::npos ? path : path.substr(slash + 1);
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
    if (owner.container_id.empty()) owner.container_id = container_id_of(segment);
    owner.pod_uid = pod_uid_of(segment);
  }
  return owner;
}

std::string_view without_deleted(std::string_view path) {
  if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  return path;
}

bool is_in_container(std::string_view cgroup_text) {
  const std::vector<CgroupLine> lines = parse_cgroup(cgroup_text);
  return std::ranges::any_of(lines, [](const CgroupLine& line) {
    const CgroupOwner owner = parse_cgroup_owner(line.path);
    return !owner.container_id.empty() || !owner.pod_uid.empty();
  });
}

}  // namespace ctriage::proc
