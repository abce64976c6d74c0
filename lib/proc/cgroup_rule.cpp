#include "lib/proc/cgroup_rule.h"

#include <algorithm>
#include <utility>

#include "lib/core/text.h"

namespace ctriage::proc {
namespace {

bool same_hierarchy(const CgroupLine& a, const CgroupLine& b) {
  return a.hierarchy == b.hierarchy && a.controllers == b.controllers;
}

bool is_below(std::string_view path, std::string_view top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

bool any_below(const std::vector<CgroupLine>& lines, const CgroupLine& top) {
  return std::ranges::any_of(lines, [&](const CgroupLine& line) {
    return same_hierarchy(line, top) && is_below(line.path, top.path);
  });
}

// From our own cgroup namespace everything else is "/..", "/../../x": the root of all is not a container's.
bool is_root(std::string_view path) {
  while (path.starts_with("/..")) path.remove_prefix(3);
  return path.empty() || path == "/";
}

// Which line to believe first: v2, then systemd's, then those with controllers.
int rank(const CgroupLine& line) {
  if (line.hierarchy == 0) return 0;
  return line.controllers == "name=systemd" ? 1 : 2;
}

}  // namespace

Cgroups read_names(std::vector<CgroupLine> lines) {
  Cgroups cgroups;
  for (const CgroupLine& line : lines) {
    for (const std::string_view segment : split(line.path, '/')) {
      const std::string_view id = container_id_of(segment);
      if (!id.empty() && std::ranges::find(cgroups.ids, id) == cgroups.ids.end())
        cgroups.ids.emplace_back(id);
    }
    if (cgroups.owner.empty()) cgroups.owner = parse_cgroup_owner(line.path).container_id;
  }
  cgroups.lines = std::move(lines);
  return cgroups;
}

CgroupRule::CgroupRule(const std::vector<CgroupLine>& init, const std::vector<CgroupLine>& parent,
                       const std::vector<CgroupLine>& first) {
  std::vector<CgroupLine> ordered = init;
  std::ranges::stable_sort(ordered, {}, rank);
  for (const CgroupLine& line : ordered) {
    id_ = parse_cgroup_owner(line.path).container_id;
    if (!id_.empty()) return;
  }
  if (parent.empty() || first.empty()) return;  // we cannot know who else is in it
  for (const CgroupLine& line : ordered) {
    // v1 controllers are often shared by much (devices:/user.slice), so they count only where nothing better
    // does.
    if (!subtrees_.empty() && rank(line) > rank(subtrees_.front())) return;
    if (is_root(line.path) || any_below(parent, line) || any_below(first, line)) continue;
    subtrees_.push_back(line);
  }
}

bool CgroupRule::holds(const Cgroups& cgroups) const {
  if (!id_.empty()) return std::ranges::find(cgroups.ids, id_) != cgroups.ids.end();
  return std::ranges::any_of(subtrees_, [&](const CgroupLine& top) { return any_below(cgroups.lines, top); });
}

std::string_view CgroupRule::other_id(const Cgroups& cgroups) const {
  return holds(cgroups) ? std::string_view{} : std::string_view(cgroups.owner);
}

}  // namespace ctriage::proc
