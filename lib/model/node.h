#pragma once
// What of the node itself matters to a container that may have reached it.
#include <array>
#include <optional>
#include <string>

#include "lib/model/file.h"

namespace ctriage {

enum class NodeFactKind : std::uint8_t { file, setting, hidden_process };
constexpr auto enum_names(NodeFactKind) {
  return std::array<std::string_view, 3>{"file", "setting", "hidden_process"};
}

struct NodeFact {
  NodeFactKind kind = NodeFactKind::file;
  std::string group;
  Bytes path;
  std::optional<Bytes> value;
  std::optional<FileState> file;
  bool newer = false;
  std::optional<std::string> stream;
  std::optional<std::string> partial;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind,
      "file: newer than the pod; setting: what the kernel runs or loads on request, whatever its age; "
      "hidden_process: something is mounted over its directory in the node's /proc");
    v("group", self.group,
      "core_pattern, modprobe, hotplug, poweroff, uevent_helper, release_agent, binfmt_misc, preload, cron, "
      "units, udev, keys, accounts, profile, static_pods, kubelet, runtime, cni, modules, programs, bpf, "
      "proc");
    v("path", self.path, "on the node");
    v("value", self.value, "of a setting; of a hidden process: what is mounted there");
    v("file", self.file, "the file, where it is one");
    v("newer", self.newer, "made or changed since the pod was: ctime, which nobody can set");
    v("stream", self.stream, "the member of the bundle that has its bytes");
    v("partial", self.partial, "why the bytes taken are not all of them, or none");
  }
};

}  // namespace ctriage
