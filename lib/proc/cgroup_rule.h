#pragma once
// Which processes are in the cgroup of one container. Not for other modules.
#include <string>
#include <string_view>
#include <vector>

#include "lib/proc/proc.h"

namespace ctriage::proc {

// The container id that one component of a cgroup path names, or nothing.
std::string_view container_id_of(std::string_view segment);

struct Cgroups {  // of one process
  std::vector<CgroupLine> lines;
  std::vector<std::string> ids;  // of containers, that any component names
  std::string owner;             // the innermost of the first line that names one; empty: none does
};
Cgroups read_names(std::vector<CgroupLine> lines);

class CgroupRule {
 public:
  // With a container id in the path: every path with that id in it, on any hierarchy. Without (a container
  // that no engine made): the subtree of init's cgroup, but only where neither init's parent nor pid 1 lives
  // in it, since a container started from a shell shares the shell's.
  CgroupRule(const std::vector<CgroupLine>& init, const std::vector<CgroupLine>& parent,
             const std::vector<CgroupLine>& first);

  [[nodiscard]] bool usable() const { return !id_.empty() || !subtrees_.empty(); }
  [[nodiscard]] bool holds(const Cgroups& cgroups) const;
  // The id of a container that is not ours, nor one made in ours. Only a name: who may make cgroups chooses
  // it.
  [[nodiscard]] std::string_view other_id(const Cgroups& cgroups) const;

 private:
  std::string id_;
  std::vector<CgroupLine> subtrees_;
};

}  // namespace ctriage::proc
