// Group "node": what on the node a container that broke out may have left: files newer than the pod in
// places that the node trusts, settings of the kernel that name a program, processes that are hidden.
#include <algorithm>
#include <array>

#include "lib/collect/node_view.h"
#include "lib/core/sys.h"
#include "lib/model/node.h"
#include "lib/runtime/kubelet.h"
#include "lib/source/reach.h"
#include "lib/source/watched.h"

namespace ctriage::collect {
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

class TakeNewer {
 public:
  TakeNewer(Collection& in, const Root& root, bundle::Stream& out) : in_(in), root_(root), out_(out) {}

  Status take() {
    auto mounts = node_mounts(in_);
    if (!mounts) return std::move(mounts).error();
    table_ = *std::move(mounts);
    if (in_.snapshot.node().disk) return newer_files();  // no kernel runs, so it has no settings
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
      in_.task.gaps.add({Impact::lost, "node.setting", path, std::move(block).error()});
      return Done{};
    }
    if (block->names.size() > kMaxSettings) {
      in_.task.gaps.add({Impact::lost, "node.setting", path, Error{Errc::limit, "too many formats"}});
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
        in_.task.gaps.add({Impact::lost, "node.setting", path, std::move(value).error()});
      return Done{};
    }
    return in_.write(out_, setting_of(group, path, *std::move(value)));
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
        if (auto status = in_.write(out_, fact); !status) return status;
        break;
      }
    }
    return Done{};
  }

  Status newer_files() {
    const source::Node& node = in_.snapshot.node();
    const auto system = sys::uname();
    GapLog told;  // by who asks where a bundle may lie
    Task quiet = in_.task.with(told);
    const auto kubelet =
        node.disk ? std::optional<runtime::Kubelet>() : runtime::find_kubelet(node.proc, quiet);
    const std::string kubelet_root = kubelet ? kubelet->root : "/var/lib/kubelet";
    const std::string config = text_of(kubelet_root + "/config.yaml");
    const auto places =
        source::watched_places(text_of("/etc/passwd"), system && !node.disk ? system->release : "",
                               kubelet_root, source::find_config_value(config, "staticPodPath"));
    source::NewerOptions options;
    options.since = pod_began(in_);
    options.asks_server = [this](std::string_view path) { return table_.asks_server(path); };
    const Emit<source::NewerFile> emit = [&](source::NewerFile&& found) -> Status {
      if (found.bytes) {
        const std::string& path = found.fact.path.raw;
        found.fact.stream = "node/newer/" + found.fact.group + "/" + bundle::member_name(path.substr(1));
        if (auto status = in_.out.add(*found.fact.stream, *found.bytes, path); !status) return status;
      }
      return in_.write(out_, found.fact);
    };
    return source::list_newer(root_, places, options, emit, in_.task);
  }

  // Names places to look at: without it fewer are looked at, which is told.
  std::string text_of(const std::string& path) {
    auto text = root_.read_file_in_root(path, kMaxConfigBytes);
    if (text) return *std::move(text);
    if (text.error().code != Errc::not_found)
      in_.task.gaps.add({Impact::lost, "node.newer", path, std::move(text).error()});
    return {};
  }

  Collection& in_;
  const Root& root_;
  bundle::Stream& out_;
  NodeMounts table_;
};

}  // namespace

Status take_newer(Collection& in) {
  const std::string path = "node/newer.jsonl";
  auto stream = in.out.open(path, bundle::Encoding::jsonl, "the node's files");
  if (!stream) return std::move(stream).error();
  const source::Node& node = in.snapshot.node();
  auto root = node.root();
  const Status taken =
      root ? TakeNewer(in, *root, **stream).take()
           : Status(Error(root.error()).within("the node's root directory (needs CAP_SYS_PTRACE)"));
  if (!taken) return in.ended_early(**stream, "node.newer", path, taken.error());
  return (*stream)->finish(bundle::Outcome::collected, "");
}

}  // namespace ctriage::collect
