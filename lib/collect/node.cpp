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

Status take_os_release(Collection& in, const source::Node& node) {
  const std::string member = "node/os-release";
  const std::string origin = "/etc/os-release";
  auto root = node.root();
  auto text = root ? root->read_file_in_root(origin, kMaxJsonLineBytes) : Result<std::string>(root.error());
  if (node.disk && !text && text.error().code == Errc::not_found) {  // the disk may be another than that of /
    in.out.not_collected(member, origin, text.error().what);
    return Done{};
  }
  return in.add_file(member, std::move(text), "node.file", origin);
}

}  // namespace

Status take_node(Collection& in) {
  const source::Node& node = in.snapshot.node();
  if (node.disk) return take_os_release(in, node);  // the rest is of a kernel that runs
  const Root& proc = node.proc;
  for (const NodeFile& file : kProcFiles) {
    auto text = proc.read_file_in_root(file.path, kMaxProcTextBytes);
    if (auto status = in.add_file(std::string(file.member), std::move(text), "node.file",
                                  "/proc/" + std::string(file.path));
        !status) {
      return status;
    }
  }
  const std::string mounts = node.host_link("mountinfo");
  if (auto status = in.add_file("node/mounts", proc.read_file_in_root(mounts, kMaxProcTextBytes), "node.file",
                                "/proc/" + mounts);
      !status) {
    return status;
  }
  return take_os_release(in, node);
}

}  // namespace ctriage::collect
