#include "lib/collect/place.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::collect {
namespace {

constexpr std::uint64_t kOverlayMagic = 0x794c7630;  // statfs(2)
constexpr std::string_view kDefaultKubeletRoot = "/var/lib/kubelet";
// Kubelet's default hard eviction thresholds, nodefs.available and imagefs.available, and what we keep above
// them.
constexpr unsigned kNodefsPercent = 10;
constexpr unsigned kImagefsPercent = 15;
constexpr unsigned kMarginPercent = 5;
constexpr std::size_t kMaxSuggestions = 5;

struct Kubelet {
  std::string root;  // "" when this node has none
  bool running = false;
};

// Anyone can call a process "kubelet": only one in the node's own mount namespace and in no container's
// cgroup counts.
bool is_of_the_node(const Root& proc, std::int32_t pid) {
  const auto its = proc::read_namespace(proc, pid, "mnt");
  const auto node = proc::read_namespace(proc, proc::node_process(proc), "mnt");
  const auto text = proc::read_text(proc, pid, "cgroup");
  return its && node && *its == *node && text && !proc::is_in_container(*text);
}

// --root-dir of a running kubelet, else the default directory where it exists.
std::string find_kubelet_root(const Root& proc) {
  auto pids = proc::list_pids(proc);
  if (pids) {
    for (const std::int32_t pid : *pids) {
      auto comm = proc::read_text(proc, pid, "comm");
      if (!comm || trim(*comm) != "kubelet" || !is_of_the_node(proc, pid)) continue;
      std::string root(kDefaultKubeletRoot);
      auto cmdline = proc::read_text(proc, pid, "cmdline");  // kubelet's own memory, not a target's
      const auto arguments = cmdline ? split(*cmdline, '\0') : std::vector<std::string_view>{};
      for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (arguments[i].starts_with("--root-dir=")) root = arguments[i].substr(11);
        if (arguments[i] == "--root-dir" && i + 1 < arguments.size()) root = arguments[i + 1];
      }
      return root;
    }
  }
  if (Root::open(std::string(kDefaultKubeletRoot))) return std::string(kDefaultKubeletRoot);
  return {};
}

bool is_below(std::string_view path, std::string_view directory) {
  if (directory.empty() || !path.starts_with(directory)) return false;
  return path.size() == directory.size() || path[directory.size()] == '/' || directory.back() == '/';
}

std::optional<FileInfo> info_of(const std::string& path) {
  if (path.empty()) return std::nullopt;
  auto root = Root::open(path);
  if (!root) return std::nullopt;
  auto info = root->stat_beneath("");
  if (!info) return std::nullopt;
  return *info;
}

bool same_device(const std::optional<FileInfo>& a, const FileInfo& b) {
  return a && a->dev_major == b.dev_major && a->dev_minor == b.dev_minor;
}

// What the mount that holds `real` shows there, as a path of its own file system, with the file system's
// type.
struct Behind {
  std::string path;
  std::string type;
};
Behind behind_mount(const Root& proc, const std::string& real) {
  auto text = proc.read_file_in_root("self/mountinfo", kMaxProcTextBytes);
  if (!text) return {real, "?"};
  Behind best{real, "?"};
  std::size_t longest = 0;
  for (const std::string_view line : split(*text, '\n')) {
    auto mount = proc::parse_mountinfo_line(line);
    if (!mount || !is_below(real, mount->mountpoint.raw) || mount->mountpoint.raw.size() < longest) continue;
    longest = mount->mountpoint.raw.size();
    best.type = mount->fstype.raw;
    best.path = mount->root.raw == "/" ? "" : mount->root.raw;
    best.path += longest == 1 ? real : real.substr(longest);
  }
  return best;
}

// The node's own root may be an overlay (live media, diskless nodes): that one is no container's layer.
bool is_node_root(const Root& proc, const FileInfo& directory) {
  auto root = proc.descend_magic(std::to_string(proc::node_process(proc)) + "/root");
  if (!root) return false;
  auto info = root->stat_beneath("");
  return info && info->dev_major == directory.dev_major && info->dev_minor == directory.dev_minor;
}

// Whether a directory on the way to `real` is one of these.
bool lies_in(const std::string& real, const std::vector<FileInfo>& directories) {
  for (std::size_t end = real.size(); end != std::string::npos && end > 0; end = real.rfind('/', end - 1)) {
    const auto info = info_of(real.substr(0, end));
    if (!info) continue;
    for (const FileInfo& directory : directories) {
      if (info->same_inode(directory)) return true;
    }
    if (end == 1) break;
  }
  return false;
}

Error refused(const std::string& path, std::string_view why) {
  return {Errc::outside, path + ": " + std::string(why) + "; choose another directory with -o"};
}

}  // namespace

KeepOut keep_out_of(const source::LiveSnapshot& target) {
  KeepOut keep_out{target.engine_root(), {}};
  for (const source::LiveContainer& live : target.containers()) {
    if (!live.stack) continue;
    for (const FileInfo& layer : live.stack->directories()) keep_out.layers.push_back(layer);
  }
  return keep_out;
}

Result<Place> check_place(const Root& directory, const std::string& path, const Root& proc,
                          const KeepOut& keep_out) {
  const std::string& engine_root = keep_out.engine_root;
  auto info = directory.stat_beneath("");
  if (!info) return std::move(info).error();
  auto fs = sys::statfs(directory.fd(), path);
  if (!fs) return std::move(fs).error();
  auto real =
      proc.read_link_beneath(std::to_string(sys::own_pid()) + "/fd/" + std::to_string(directory.fd()));
  const std::string resolved = real ? *real : path;
  const Behind behind = behind_mount(proc, resolved);
  const std::string kubelet_root = find_kubelet_root(proc);

  if (static_cast<std::uint64_t>(fs->f_type) == kOverlayMagic && !is_node_root(proc, *info)) {
    return refused(path, "lies in a container's writable layer");
  }
  if (lies_in(resolved, keep_out.layers)) return refused(path, "lies in a layer of the target");
  if (!engine_root.empty() && (is_below(resolved, engine_root) || is_below(behind.path, engine_root))) {
    return refused(path, "lies in the container runtime's root " + engine_root);
  }
  const std::string pods = kubelet_root.empty() ? "" : kubelet_root + "/pods";
  if (is_below(resolved, pods) || is_below(behind.path, pods) ||
      behind.path.find("/kubernetes.io~empty-dir/") != std::string::npos) {
    return refused(path,
                   "lies in kubelet's pods directory, which counts against the pod under investigation");
  }

  Place place;
  place.path = path;
  place.filesystem = behind.type;
  const std::uint64_t block = static_cast<std::uint64_t>(fs->f_bsize);
  place.free_bytes = static_cast<std::uint64_t>(fs->f_bavail) * block;
  place.total_bytes = static_cast<std::uint64_t>(fs->f_blocks) * block;
  unsigned keep_percent = 0;
  if (!kubelet_root.empty()) {
    if (same_device(info_of(kubelet_root), *info)) keep_percent = kNodefsPercent + kMarginPercent;
    if (same_device(info_of(engine_root), *info)) keep_percent = kImagefsPercent + kMarginPercent;
  }
  place.kubelet_disk = keep_percent != 0;
  const std::uint64_t keep = place.total_bytes / 100 * keep_percent;
  place.allowed_bytes = place.free_bytes > keep ? place.free_bytes - keep : 0;
  if (place.allowed_bytes == 0) {
    return Error{Errc::full,
                 path + ": " + human_size(place.free_bytes) + " free of " + human_size(place.total_bytes) +
                     (keep_percent == 0 ? std::string()
                                        : ", and below " + std::to_string(keep_percent) +
                                              " % kubelet may evict the pod under investigation") +
                     "; choose another directory with -o"};
  }
  return place;
}

std::vector<Place> suggest_places(const Root& proc, const KeepOut& keep_out) {
  constexpr std::array<std::string_view, 11> kKinds{"ext4", "xfs",  "btrfs", "ext3",  "f2fs", "nfs",
                                                    "nfs4", "cifs", "vfat",  "exfat", "tmpfs"};
  std::vector<Place> places;
  auto text = proc.read_file_in_root("self/mountinfo", kMaxProcTextBytes);
  if (!text) return places;
  for (const std::string_view line : split(*text, '\n')) {
    auto mount = proc::parse_mountinfo_line(line);
    if (!mount || std::find(kKinds.begin(), kKinds.end(), mount->fstype.raw) == kKinds.end()) continue;
    if (split(mount->options.raw, ',').front() != "rw" || is_below(mount->mountpoint.raw, "/sys")) continue;
    const std::string path = mount->mountpoint.raw == "/" ? "/var/tmp" : mount->mountpoint.raw;
    auto root = Root::open(path);
    if (!root) continue;
    auto place = check_place(*root, path, proc, keep_out);
    const bool known =
        std::any_of(places.begin(), places.end(), [&](const Place& p) { return p.path == path; });
    if (place && !known && place->allowed_bytes > kChunkBytes) places.push_back(*std::move(place));
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const Place& a, const Place& b) { return a.allowed_bytes > b.allowed_bytes; });
  if (places.size() > kMaxSuggestions) places.resize(kMaxSuggestions);
  return places;
}

}  // namespace ctriage::collect
