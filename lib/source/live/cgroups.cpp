#include "lib/source/live/cgroups.h"

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kMemory = "memory";

bool has(std::string_view list, std::string_view word) {
  const auto words = split(list, ',');
  return std::ranges::find(words, word) != words.end();
}

void add_limits(const Root& hierarchy, std::string path, bool v2, std::vector<MemoryLimit>& into) {
  for (; path.size() > 1; path = parent_of(path)) {
    const auto number = [&](std::string_view file) {
      const auto text = hierarchy.read_file_in_root(path.substr(1) + "/" + std::string(file), kMaxLineBytes);
      return text ? parse_number<std::uint64_t>(trim(*text)) : std::nullopt;
    };
    const auto most = number(v2 ? "memory.max" : "memory.limit_in_bytes");  // "max": none
    const auto used = number(v2 ? "memory.current" : "memory.usage_in_bytes");
    if (most && used) into.push_back({path, *most, *used});
  }
}

}  // namespace

std::vector<CgroupMount> cgroup_mounts(const std::vector<Mount>& mounts, std::string_view controller) {
  std::vector<CgroupMount> found;
  for (const Mount& mount : mounts) {
    if (mount.root.raw != "/") continue;
    const bool v2 = mount.fstype.raw == "cgroup2";
    if (v2 || (mount.fstype.raw == "cgroup" && has(mount.super_options.raw, controller)))
      found.push_back({v2, mount.mountpoint.raw});
  }
  return found;
}

std::string cgroup_of(const Root& proc, std::int32_t pid, bool v2, std::string_view controller) {
  const auto text = proc::read_text(proc, pid, "cgroup");
  for (const auto& line : text ? proc::parse_cgroup(*text) : std::vector<proc::CgroupLine>()) {
    if (v2 ? line.hierarchy == 0 : has(line.controllers, controller))
      return line.path.find("/..") == std::string::npos ? line.path : std::string();
  }
  return {};
}

std::vector<MemoryLimit> memory_limits_of(const Node& node, std::int32_t pid, Task& task) {
  std::vector<MemoryLimit> found;
  const auto mounts = proc::read_mounts(node.proc, node.host, task);
  const auto root = node.proc.descend_magic(node.host_link("root"));
  if (!mounts || !root) return found;
  for (const CgroupMount& hierarchy : cgroup_mounts(*mounts, kMemory)) {
    const auto top = root->descend_in_root(hierarchy.mountpoint.substr(1));
    if (top) add_limits(*top, cgroup_of(node.proc, pid, hierarchy.v2, kMemory), hierarchy.v2, found);
  }
  return found;
}

std::uint64_t available_bytes(const Root& proc) {
  constexpr std::string_view kAvailable = "MemAvailable:";
  const auto text = proc.read_file_in_root("meminfo", kMaxProcTextBytes);
  for (const std::string_view line : text ? split(*text, '\n') : std::vector<std::string_view>()) {
    if (!line.starts_with(kAvailable)) continue;
    const auto words = split(trim(line.substr(kAvailable.size())), ' ');
    return parse_number<std::uint64_t>(words.front()).value_or(0) << 10;
  }
  return 0;
}

}  // namespace ctriage::source
