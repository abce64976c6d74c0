#include "lib/proc/cgroup_rule.h"

#include <algorithm>

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

bool names(std::string_view path, std::string_view id) {
  while (!path.empty()) {
    const std::size_t slash = path.rfind('/');
    const std::string_view segment = slash == std::string_view::npos ? path : path.substr(slash + 1);
    if (container_id_of(segment) == id) return true;
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
  }
  return false;
}

// Which line to believe first: v2, then systemd's, then those with controllers.
int rank(const CgroupLine& line) {
  if (line.hierarchy == 0) return 0;
  return line.controllers == "name=systemd" ? 1 : 2;
}

}  // namespace

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

bool CgroupRule::holds(const std::vector<CgroupLine>& lines) const {
  if (!id_.empty()) {
    return std::ranges::any_of(lines, [&](const CgroupLine& line) { return names(line.path, id_); });
  }
  return std::ranges::any_of(subtrees_, [&](const CgroupLine& top) { return any_below(lines, top); });
}

std::string CgroupRule::other_id(const std::vector<CgroupLine>& lines) const {
  if (holds(lines)) return {};
  for (const CgroupLine& line : lines) {
    std::string id = parse_cgroup_owner(line.path).container_id;
    if (!id.empty()) return id;
  }
  return {};
}

}  // namespace ctriage::proc
