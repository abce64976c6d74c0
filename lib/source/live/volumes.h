#pragma once
// What a container may write to beside its UpperDir and its tmpfs: emptyDirs on the disk, volumes of the
// engine, claims, directories of the node. lib/collect/SEMANTICS.md says what is taken of them.
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/gap_log.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/process.h"

namespace ctriage::source {

struct Node;
struct LiveContainer;

constexpr std::size_t kMaxVolumes = 512;  // mounts of one container that are looked at

enum class VolumeKind : std::uint8_t {  // in the order of taking: what is gone with the pod first
  empty_dir,                            // the kubelet's, removed with the pod
  engine,                               // a named or anonymous volume of Docker, Podman, nerdctl
  claim,                                // all else that the kubelet mounted: PVC, CSI, NFS, ...
  host_path,                            // a directory or file of the node
  system,                               // the node itself: / or one of the directories it runs from
};
constexpr auto enum_names(VolumeKind) {
  return std::array<std::string_view, 5>{"empty_dir", "engine", "claim", "host_path", "system"};
}

struct Volume {
  Mount mount;         // in the container
  std::string source;  // where it lies on the node; empty: on no file system that the node has mounted
  VolumeKind kind = VolumeKind::host_path;
  // A detached read-only clone, where one could be made; else it is opened when its turn comes.
  std::optional<Root> clone;
  bool directory = true;  // of the clone; else one file that is a mount by itself
  std::string no_clone;   // why links may change their access time
};

// What the container can reach of the node. `source` as true_source() gives it; `engine_root`: the engine's.
VolumeKind volume_kind(std::string_view source, std::string_view engine_root);
// What engines and the kubelet make themselves and mount there: /etc/hosts and its like.
bool is_made_by_engine(std::string_view mountpoint);
// File systems that the node has as long as it runs: a reference of ours to them keeps nobody waiting.
std::set<std::uint64_t> devices_of_node(const std::vector<Mount>& of_node, const std::string& engine_root,
                                        const std::string& kubelet_root);
// Of the mount at "/"; none: no device.
Hex device_of_root(const std::vector<Mount>& of_node);
constexpr std::string_view kSecretsNotTaken =
    "secrets and configuration of the pod: their bytes are not taken";
// O_PATH on what lies at `place`, "/" or "/a/b", of the node or disk whose / is `top`. No link is followed.
Result<UniqueFd> pin_place(const Root& top, const std::string& place);
// The volume is read through a clone of what is at `there` from now on.
Status hold_clone(Volume& volume, const Root& there, const Node& node);
Gap too_many_volumes(const LiveContainer& live, std::uint64_t more);
// "rw" for this container: not read-only by its mount, nor the whole file system.
bool is_writable(const Mount& mount);

// Fills their volumes and volume_gaps: what is mounted and not taken, and why. Clones what lies on a disk
// that the node cannot do without, so that nobody's unmounting waits for us: no claim, no disk of its own.
// Before forbid_clones().
void find_volumes(Node& node, std::span<LiveContainer> containers, Task& task);

// The same of one that has ended, by what its engine recorded of its mounts.
void find_ended_volumes(Node& node, LiveContainer& live, Task& task);

struct OpenVolume {
  Root root;  // O_PATH on its top
  bool directory = true;
};
// The clone, else the volume through the container, or through the node where the container has ended.
// Errc::outside where another mount lies over it.
Result<OpenVolume> open_volume(Node& node, const LiveContainer& live, const Volume& volume, Task& task);

}  // namespace ctriage::source
