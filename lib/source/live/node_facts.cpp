#include "lib/source/live/node_facts.h"

#include <algorithm>
#include <array>

#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/runtime/kubelet.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxSettingBytes = 64 << 10;
constexpr std::size_t kMaxSettings = 1'000;
constexpr std::size_t kMaxConfigBytes = 1 << 20;

struct Setting {
  std::string_view group;
  std::string_view path;
};
// Each names a program that the kernel starts as root, in the node's namespaces.
constexpr std::array<Setting, 5> kSettings{{{"core_pattern", "/proc/sys/kernel/core_pattern"},
                                            {"modprobe", "/proc/sys/kernel/modprobe"},
                                            {"hotplug", "/proc/sys/kernel/hotplug"},
                                            {"poweroff", "/proc/sys/kernel/poweroff_cmd"},
                                            {"uevent_helper", "/sys/kernel/uevent_helper"}}};

NodeFact setting_of(std::string_view group, const std::string& path, std::string value) {
  while (value.ends_with('\n')) value.pop_back();
  NodeFact fact;
  fact.kind = NodeFactKind::setting;
  fact.group = std::string(group);
  fact.path = Bytes(path);
  fact.value = Bytes(std::move(value));
  return fact;
}

class NodeFacts {
 public:
  NodeFacts(const Node& node, Timestamp since, const Root& root, const Emit<NewerFile>& emit, Task& task)
      : node_(node), since_(since), root_(root), emit_(emit), task_(task) {}

  Status list() {
    auto mounts = node_mounts(node_, task_);
    if (!mounts) return std::move(mounts).error();
    table_ = *std::move(mounts);
    if (node_.disk) return newer_files();  // no kernel runs, so it has no settings
    if (auto status = settings(); !status) return status;
    if (auto status = release_agents(); !status) return status;
    if (auto status = binfmt(); !status) return status;
    if (auto status = hidden_processes(); !status) return status;
    return newer_files();
  }

 private:
  Status settings() {
    for (const Setting& setting : kSettings) {
      const std::string path(setting.path);
      auto value = root_.read_file_in_root(path, kMaxSettingBytes);
      if (auto status = give(setting.group, path, std::move(value)); !status) return status;
    }
    return Done{};
  }

  // cgroups(7), "Cgroups v1 release notification": a file at the top of each hierarchy of version 1.
  Status release_agents() {
    std::size_t count = 0;
    for (const Mount& mount : table_.mounts) {
      if (mount.fstype.raw != "cgroup" || ++count > kMaxSettings) continue;
      const std::string path = mount.mountpoint.raw + "/release_agent";
      auto value = root_.read_file_in_root(path, kMaxSettingBytes);
      if (auto status = give("release_agent", path, std::move(value)); !status) return status;
    }
    return Done{};
  }

  Status binfmt() {
    const std::string path = "/proc/sys/fs/binfmt_misc";
    auto directory = root_.descend_in_root(path);
    if (!directory) return Done{};  // a kernel without it
    auto block = list_names(*directory, "", 1 << 20);
    if (!block) {
      task_.gaps.add({Impact::lost, "node.setting", path, std::move(block).error()});
      return Done{};
    }
    if (block->names.size() > kMaxSettings) {
      task_.gaps.add({Impact::lost, "node.setting", path, Error{Errc::limit, "too many formats"}});
      block->names.resize(kMaxSettings);
    }
    for (const std::string& name : block->names) {
      if (name == "register") continue;  // can only be written
      if (auto status =
              give("binfmt_misc", path + "/" + name, directory->read_file_in_root(name, kMaxSettingBytes));
          !status)
        return status;
    }
    return Done{};
  }

  Status give(std::string_view group, const std::string& path, Result<std::string> value) {
    if (!value) {
      if (value.error().code != Errc::not_found)
        task_.gaps.add({Impact::lost, "node.setting", path, std::move(value).error()});
      return Done{};
    }
    return emit_({setting_of(group, path, *std::move(value)), {}});
  }

  // mount --bind /tmp/empty /proc/PID: what looks at the node's /proc then sees nothing of the process.
  Status hidden_processes() {
    for (const Mount& mount : table_.mounts) {
      for (const Mount& above : table_.mounts) {
        const std::string& proc = above.mountpoint.raw;
        if (above.fstype.raw != "proc" || above.root.raw != "/" || &above == &mount) continue;
        if (!mount.mountpoint.raw.starts_with(proc + "/")) continue;
        const std::string_view below = std::string_view(mount.mountpoint.raw).substr(proc.size() + 1);
        if (!parse_number<std::int32_t>(below.substr(0, below.find('/')))) continue;
        NodeFact fact;
        fact.kind = NodeFactKind::hidden_process;
        fact.group = "proc";
        fact.path = mount.mountpoint;
        fact.value = Bytes(mount.fstype.raw + " " + mount.source.raw + " " + mount.root.raw);
        if (auto status = emit_({std::move(fact), {}}); !status) return status;
        break;
      }
    }
    return Done{};
  }

  Status newer_files() {
    const auto system = sys::uname();
    GapLog told;  // by who asks where a bundle may lie
    Task quiet = task_.with(told);
    const auto kubelet =
        node_.disk ? std::optional<runtime::Kubelet>() : runtime::find_kubelet(node_.proc, quiet);
    const std::string kubelet_root = kubelet ? kubelet->root : "/var/lib/kubelet";
    const std::string config = text_of(kubelet_root + "/config.yaml");
    const auto places = watched_places(text_of("/etc/passwd"), system && !node_.disk ? system->release : "",
                                       kubelet_root, find_config_value(config, "staticPodPath"));
    NewerOptions options;
    options.since = since_;
    options.asks_server = [this](std::string_view path) { return table_.asks_server(path); };
    return list_newer(root_, places, options, emit_, task_);
  }

  // Names places to look at: without it fewer are looked at, which is told.
  std::string text_of(const std::string& path) {
    auto text = root_.read_file_in_root(path, kMaxConfigBytes);
    if (text) return *std::move(text);
    if (text.error().code != Errc::not_found)
      task_.gaps.add({Impact::lost, "node.newer", path, std::move(text).error()});
    return {};
  }

  const Node& node_;
  const Timestamp since_;
  const Root& root_;
  const Emit<NewerFile>& emit_;
  Task& task_;
  NodeMounts table_;
};

}  // namespace

bool NodeMounts::asks_server(std::string_view path) const {
  return server_on_the_way(mounts, root_device, path) != nullptr;
}

Result<NodeMounts> node_mounts(const Node& node, Task& task) {
  if (node.disk) return NodeMounts();  // whoever mounted it sees no other
  auto mounts = proc::read_mounts(node.proc, node.host, task);
  if (!mounts) return std::move(mounts).error().within("the node's mount table");
  NodeMounts table;
  table.mounts = *std::move(mounts);
  for (const Mount& mount : table.mounts) {
    if (mount.mountpoint.raw == "/") table.root_device = mount.device;
  }
  return table;
}

Timestamp pod_began(const Node& node, std::span<const LiveContainer> containers) {
  std::optional<Timestamp> oldest;
  const auto take = [&oldest](const std::optional<Timestamp>& at) {
    if (at && at->seconds > 0 && (!oldest || *at < *oldest)) oldest = at;
  };
  for (const LiveContainer& live : containers) {
    take(live.container.created_at);
    take(live.container.started_at);
    if (!live.ended) take(proc::time_of_ticks(node.clock, live.container.init_start_ticks));
  }
  return oldest.value_or(Timestamp{});
}

Status list_node_facts(const Node& node, std::span<const LiveContainer> containers,
                       const Emit<NewerFile>& emit, Task& task) {
  auto root = node.root();
  if (!root) return Error(root.error()).within("the node's root directory (needs CAP_SYS_PTRACE)");
  return NodeFacts(node, pod_began(node, containers), *root, emit, task).list();
}

}  // namespace ctriage::source
