#include "lib/source/live/volumes.h"

#include <algorithm>
#include <set>

#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/runtime/kubelet.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/posture.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"
#include "lib/source/live/tmpfs.h"

namespace ctriage::source {
namespace {

// The node runs from what is at or below these...
constexpr std::array<std::string_view, 12> kSystemTrees = {"/bin",  "/boot",  "/dev",     "/etc",
                                                           "/lib",  "/lib32", "/lib64",   "/run",
                                                           "/sbin", "/usr",   "/var/log", "/var/run"};
// ... and these are too much of it.
constexpr std::array<std::string_view, 7> kSystemTops = {"/",    "/home",           "/opt", "/root", "/var",
                                                         "/tmp", "/var/lib/kubelet"};
// Where engines and the kubelet mount files that they made themselves.
constexpr std::array<std::string_view, 6> kMadeByEngines = {
    "/etc/hosts",         "/etc/hostname",          "/etc/resolv.conf",
    "/run/.containerenv", "/var/run/.containerenv", "/dev/termination-log"};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// The mount of the container's root directory, whatever was mounted over "/" since.
bool is_part_of_root(const LiveContainer& live, const Mount& mount) {
  if (mount.device != live.root_device) return false;
  if (mount.fstype.raw == "overlay") return true;
  const auto root = std::ranges::find_if(live.mounts, [&](const Mount& other) {
    return other.mountpoint.raw == "/" && other.device == live.root_device;
  });
  return root != live.mounts.end() && is_at_or_below(mount.root.raw, root->root.raw);
}

const Mount* root_of(const std::vector<Mount>& of_node) {
  const Mount* root = nullptr;
  for (const Mount& mount : of_node) {
    if (mount.mountpoint.raw == "/") root = &mount;
  }
  return root;
}

Gap gap_of(Impact impact, const Mount& mount, Errc code, std::string why) {
  return {impact, "container.volumes", mount.mountpoint.raw, Error{code, std::move(why)}};
}

std::string shown(const Mount& mount, const std::string& source) {
  return source.empty() ? mount.fstype.raw + " " + mount.source.raw : source + " of the node";
}

// Through the container's own eyes.
Result<OpenVolume> pin_volume(Node& node, const LiveContainer& live, const Mount& mount) {
  auto root = node.proc.descend_magic(proc::live_path(node.proc, live.container.init_pid) + "/root");
  if (!root) return std::move(root).error();
  auto pinned = pin_mount(node.proc, *root, mount);
  if (!pinned) return std::move(pinned).error();
  if (!*pinned) return Error{Errc::outside, "another mount lies over this volume: what is in it is not seen"};
  Root top = Root::adopt(std::move((*pinned)->fd), mount.mountpoint.raw);
  top.count_access_times(node.touched);
  return OpenVolume{std::move(top), (*pinned)->directory};
}

class Finder {
 public:
  Finder(Node& node, LiveContainer& live, const std::vector<Mount>& of_node, std::string kubelet_root)
      : node_(node), live_(live), of_node_(of_node), kubelet_root_(std::move(kubelet_root)) {
    lasting_ = devices_of_node(of_node_, live.container.engine_root.raw, kubelet_root_);
    node_root_device_ = device_of_root(of_node_);
  }

  void look_at(const Mount& mount) {
    const std::string& fstype = mount.fstype.raw;
    if (is_of_the_kernel(fstype) || is_part_of_root(live_, mount)) return;
    const std::string source = true_source(mount, of_node_);
    const bool in_memory = fstype == "tmpfs";
    if (in_memory && owner_of_tmpfs(mount, of_node_) != TmpfsOwner::node) return;  // tmpfs.h
    const std::string& path = mount.mountpoint.raw;
    if (is_made_by_engine(path) || kind_of_source(source) == GrantKind::engine) return;  // pod.json has them
    if (kind_of_source(source) == GrantKind::secret)
      return give(Impact::note, mount, Errc::unsupported, std::string(kSecretsNotTaken));
    if (!is_writable(mount) && in_memory) return;  // told with the tmpfs
    if (!is_writable(mount))
      return give(Impact::note, mount, Errc::unsupported,
                  shown(mount, source) + " is read-only for this container: not taken");
    const bool of_node_root = fstype == "overlay" && mount.device == node_root_device_;
    if (!in_memory && !is_local(fstype) && !of_node_root)
      return give(Impact::lost, mount, Errc::outside,
                  "not read: " + fstype + " of " + mount.source.raw +
                      ", whose server may never answer; take it from where it is served");
    const Mount* server = server_on_the_way(live_, path);
    if (server != nullptr && server->id != mount.id)
      return give(Impact::lost, mount, Errc::outside,
                  "not read: the way to it leads over " + server->fstype.raw + " at " +
                      server->mountpoint.raw + ", whose server may never answer");
    if (live_.volumes.size() >= kMaxVolumes) {
      ++crowded_;
      return;
    }
    Volume volume;
    volume.mount = mount;
    volume.source = source;
    volume.kind = volume_kind(source, live_.container.engine_root.raw);
    // What the kubelet keeps of all pods, wherever it does.
    if (volume.kind == VolumeKind::host_path &&
        (is_at_or_below(source, kubelet_root_) || is_at_or_below(kubelet_root_, source)))
      volume.kind = VolumeKind::system;
    if (source.empty() || volume.kind == VolumeKind::claim || !lasting_.contains(mount.device.value)) {
      volume.no_clone = "on a file system of its own, which is not held";
    } else if (auto cloned = clone(volume); !cloned) {
      volume.no_clone = cloned.error().what;
    }
    live_.volumes.push_back(std::move(volume));
  }

  void finish() {
    if (crowded_ > 0) live_.volume_gaps.push_back(too_many_volumes(live_, crowded_));
  }

 private:
  void give(Impact impact, const Mount& mount, Errc code, std::string why) {
    live_.volume_gaps.push_back(gap_of(impact, mount, code, std::move(why)));
  }

  // By its place on the node, whose mounts can be cloned; it must be what the container sees.
  Status clone(Volume& volume) {
    auto seen = pin_volume(node_, live_, volume.mount);
    if (!seen) return std::move(seen).error();
    auto node = node_.proc.descend_magic(node_.host_link("root"));
    if (!node) return std::move(node).error();
    if (const Mount* server = server_on_the_way(of_node_, node_root_device_, volume.source))
      return Error{Errc::outside, "the way to it on the node leads over " + server->fstype.raw};
    auto pinned = pin_place(*node, volume.source);
    if (!pinned) return std::move(pinned).error();
    const Root there = Root::adopt(*std::move(pinned), volume.source);
    const auto ours = there.stat_beneath("");
    const auto theirs = seen->root.stat_beneath("");
    if (!ours || !theirs || !ours->same_inode(*theirs))
      return Error{Errc::changed, volume.source + " of the node is another directory by now"};
    volume.directory = seen->directory;
    return hold_clone(volume, there, node_);
  }

  Node& node_;
  LiveContainer& live_;
  const std::vector<Mount>& of_node_;
  std::string kubelet_root_;
  std::set<std::uint64_t> lasting_;
  Hex node_root_device_;
  std::uint64_t crowded_ = 0;
};

Result<OpenVolume> open_pinned(UniqueFd pinned, const Volume& volume) {
  const auto info = file_info(pinned.get(), volume.source);
  if (!info) return info.error();
  return OpenVolume{Root::adopt(std::move(pinned), volume.mount.mountpoint.raw), info->is_directory()};
}

// Where the container has ended: its place on the node, if the same file system is there still.
Result<OpenVolume> open_on_node(Node& node, const Volume& volume, Task& task) {
  if (node.disk) {
    auto pinned = pin_place(*node.disk, volume.source);
    return pinned ? open_pinned(*std::move(pinned), volume) : Result<OpenVolume>(std::move(pinned).error());
  }
  const Error gone{Errc::vanished, "the container has ended, and the volume is not mounted any more"};
  auto of_node = proc::read_mounts(node.proc, node.host, task);
  if (!of_node) return std::move(of_node).error();
  if (volume.source.empty() || true_source(volume.mount, *of_node) != volume.source) return gone;
  if (server_on_the_way(*of_node, device_of_root(*of_node), volume.source) != nullptr)
    return Error{Errc::outside, "the way to it on the node leads over a server that may never answer"};
  auto top = node.proc.descend_magic(node.host_link("root"));
  if (!top) return std::move(top).error();
  auto pinned = pin_place(*top, volume.source);
  if (!pinned) return pinned.error().code == Errc::not_found ? gone : std::move(pinned).error();
  const auto id = mount_id(node.proc, pinned->get());
  const bool same = id && std::ranges::any_of(*of_node, [&](const Mount& mount) {
                      return mount.id == *id && mount.device == volume.mount.device;
                    });
  if (!same) return gone;
  return open_pinned(*std::move(pinned), volume);
}

}  // namespace

Hex device_of_root(const std::vector<Mount>& of_node) {
  const Mount* root = root_of(of_node);
  return root == nullptr ? Hex{} : root->device;
}

Result<UniqueFd> pin_place(const Root& top, const std::string& place) {
  return place == "/" ? sys::duplicate(top.fd(), place) : top.pin_beneath(std::string_view(place).substr(1));
}

Status hold_clone(Volume& volume, const Root& there, const Node& node) {
  auto cloned = there.clone_read_only();
  if (!cloned) return std::move(cloned).error();
  volume.clone = *std::move(cloned);
  volume.clone->call(volume.mount.mountpoint.raw);
  volume.clone->count_access_times(node.touched);
  return Done{};
}

VolumeKind volume_kind(std::string_view source, std::string_view engine_root) {
  if (is_empty_dir(source)) return VolumeKind::empty_dir;
  if (kind_of_source(source) == GrantKind::volume || source.empty()) return VolumeKind::claim;
  if (has(source, "/volumes/") && has(source, "/_data") && engine_root.size() > 1 &&
      is_at_or_below(source, engine_root))
    return VolumeKind::engine;
  const bool is_system =
      (engine_root.size() > 1 &&
       (is_at_or_below(engine_root, source) || is_at_or_below(source, engine_root))) ||
      std::ranges::find(kSystemTops, source) != kSystemTops.end() ||
      std::ranges::any_of(kSystemTrees,
                          [&](std::string_view tree) { return is_at_or_below(source, tree); }) ||
      is_at_or_below(source, "/var/lib/kubelet");
  return is_system ? VolumeKind::system : VolumeKind::host_path;
}

Gap too_many_volumes(const LiveContainer& live, std::uint64_t more) {
  return {Impact::lost, "container.volumes", live.container.id,
          Error{Errc::limit, "more than " + std::to_string(kMaxVolumes) +
                                 " volumes: " + counted(more, "mount", "mounts") + " not looked at"}};
}

bool is_made_by_engine(std::string_view mountpoint) {
  return std::ranges::find(kMadeByEngines, mountpoint) != kMadeByEngines.end();
}

std::set<std::uint64_t> devices_of_node(const std::vector<Mount>& of_node, const std::string& engine_root,
                                        const std::string& kubelet_root) {
  std::set<std::uint64_t> devices;
  for (const Mount& mount : of_node) {
    for (const std::string& place : {engine_root, kubelet_root}) {
      if (is_at_or_below(place, mount.mountpoint.raw)) devices.insert(mount.device.value);
    }
  }
  if (const Mount* root = root_of(of_node)) devices.insert(root->device.value);
  return devices;
}

bool is_writable(const Mount& mount) {
  const auto options = split(mount.options.view(), ',');
  const auto super_options = split(mount.super_options.view(), ',');
  return std::ranges::find(options, "ro") == options.end() &&
         std::ranges::find(super_options, "ro") == super_options.end();
}

void find_volumes(Node& node, std::span<LiveContainer> containers, Task& task) {
  const auto has_none = [](const LiveContainer& live) { return live.alone || live.ended; };
  if (std::ranges::all_of(containers, has_none)) return;
  const auto of_node = proc::read_mounts(node.proc, node.host, task);
  GapLog aside;  // its thresholds are no matter of volumes
  Task looking = task.with(aside);
  const auto kubelet = runtime::find_kubelet(node.proc, looking);
  for (LiveContainer& live : containers) {
    if (has_none(live)) continue;
    if (!of_node) {
      live.volume_gaps.push_back(
          {Impact::lost, "container.volumes", live.container.id,
           Error(of_node.error()).within("which of its mounts are volumes cannot be told")});
      continue;
    }
    Finder finder(node, live, *of_node, kubelet ? kubelet->root : "/var/lib/kubelet");
    for (const Mount& mount : live.mounts) {
      if (mount.mountpoint.raw != "/") finder.look_at(mount);
    }
    finder.finish();
  }
}

Result<OpenVolume> open_volume(Node& node, const LiveContainer& live, const Volume& volume, Task& task) {
  if (volume.clone) {
    auto root = volume.clone->duplicate();
    if (!root) return std::move(root).error();
    return OpenVolume{*std::move(root), volume.directory};
  }
  if (live.ended) return open_on_node(node, volume, task);
  auto inside = pin_volume(node, live, volume.mount);
  if (inside || inside.error().code == Errc::outside) return inside;
  const auto init = proc::open_process(node.proc, live.container.init_pid, live.container.init_start_ticks);
  if (init) return inside;
  return open_on_node(node, volume, task);
}

}  // namespace ctriage::source
