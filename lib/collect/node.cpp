// What is true of the node, not of one container.
#include <array>

#include "lib/collect/collection.h"
#include "lib/core/limits.h"

namespace ctriage::collect {
namespace {

struct NodeFile {
  std::string_view member;
  std::string_view path;  // below the procfs
};
constexpr std::array<NodeFile, 4> kProcFiles{{{"node/kernel", "version"},
                                              {"node/cmdline", "cmdline"},
                                              {"node/meminfo", "meminfo"},
                                              {"node/uptime", "uptime"}}};

}  // namespace

Status take_node(Collection& in) {
  const Root& proc = in.snapshot.node().proc;
  for (const NodeFile& file : kProcFiles) {
    auto text = proc.read_file_in_root(file.path, kMaxProcTextBytes);
    if (auto status = in.add_file(std::string(file.member), std::move(text), "node.file",
                                  "/proc/" + std::string(file.path));
        !status) {
      return status;
    }
  }
  const std::string mounts = in.snapshot.node().host_link("mountinfo");
  if (auto status = in.add_file("node/mounts", proc.read_file_in_root(mounts, kMaxProcTextBytes), "node.file",
                                "/proc/" + mounts);
      !status) {
    return status;
  }
  auto root = proc.descend_magic(in.snapshot.node().host_link("root"));
  if (!root) return in.add_file("node/os-release", std::move(root).error(), "node.file", "/etc/os-release");
  return in.add_file("node/os-release", root->read_file_in_root("etc/os-release", kMaxJsonLineBytes),
                     "node.file", "/etc/os-release");
}

}  // namespace ctriage::collect
