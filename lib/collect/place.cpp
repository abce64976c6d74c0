#include "lib/collect/place.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"
#include "lib/source/live/programs.h"

namespace ctriage::collect {
namespace {

constexpr std::uint64_t kOverlayMagic = 0x794c7630;  // statfs(2)
constexpr unsigned kMarginPercent = 5;               // of the disk, above the thresholds of kubelet
constexpr std::size_t kMaxSuggestions = 5;
constexpr std::string_view kInPods =
    "lies in kubelet's pods directory, which counts against the pod under investigation";

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

// Where a directory really is: its path without links, and behind whatever mount shows it there the file
// system and the path in that.
struct Behind {
  std::string real;
  std::optional<Hex> device;  // none: mountinfo does not tell
  std::string inside;
  std::string type = "?";
};
Behind behind_mount(const Root& proc, const Root& directory, const std::string& path) {
  Behind behind;
  auto real =
      proc.read_link_beneath(std::to_string(sys::own_pid()) + "/fd/" + std::to_string(directory.fd()));
  behind.real = real ? *real : path;
  behind.inside = behind.real;
  const auto id = source::mount_id(proc, directory.fd());
  auto text = proc.read_file_in_root("self/mountinfo", kMaxProcTextBytes);
  if (!id || !text) return behind;
  for (const std::string_view line : split(*text, '\n')) {
    auto mount = proc::parse_mountinfo_line(line);
    if (!mount || mount->id != *id || !is_at_or_below(behind.real, mount->mountpoint.raw)) continue;
    const std::string& at = mount->mountpoint.raw;
    behind.device = mount->device;
    behind.type = mount->fstype.raw;
    behind.inside =
        (mount->root.raw == "/" ? "" : mount->root.raw) + behind.real.substr(at == "/" ? 0 : at.size());
    if (behind.inside.empty()) behind.inside = "/";
  }
  return behind;
}

// By path, or by where in its file system it lies: a bind mount shows a directory elsewhere.
bool lies_below(const Behind& place, const Behind& top) {
  if (is_at_or_below(place.real, top.real)) return true;
  return place.device && place.device == top.device && is_at_or_below(place.inside, top.inside);
}

struct Forbidden {
  std::string path;
  std::string why;
};
std::vector<Forbidden> forbidden_places(const KeepOut& keep_out) {
  std::vector<Forbidden> places;
  if (!keep_out.engine_root.empty()) {
    places.push_back({keep_out.engine_root, "lies in the container runtime's root " + keep_out.engine_root});
  }
  if (keep_out.kubelet) places.push_back({keep_out.kubelet->root + "/pods", std::string(kInPods)});
  return places;
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

KeepOut keep_out_of(const source::LiveSnapshot& target, Task& task) {
  KeepOut keep_out;
  if (!target.node().disk) {
    keep_out.engine_root = target.engine_root();
    keep_out.kubelet = runtime::find_kubelet(target.node().proc, task);
  }
  for (const source::LiveContainer& live : target.containers()) {
    if (!live.stack) continue;
    for (const FileInfo& layer : live.stack->directories()) keep_out.layers.push_back(layer);
  }
  return keep_out;
}

Result<Place> check_place(const Root& directory, const std::string& path, const Root& proc,
                          const KeepOut& keep_out) {
  auto info = directory.stat_beneath("");
  if (!info) return std::move(info).error();
  auto fs = sys::statfs(directory.fd(), path);
  if (!fs) return std::move(fs).error();
  const Behind behind = behind_mount(proc, directory, path);

  if (static_cast<std::uint64_t>(fs->f_type) == kOverlayMagic && !is_node_root(proc, *info)) {
    return refused(path, "lies in a container's writable layer");
  }
  if (lies_in(behind.real, keep_out.layers)) return refused(path, "lies in a layer of the target");
  for (const Forbidden& forbidden : forbidden_places(keep_out)) {
    const auto top = Root::open(forbidden.path);
    Behind there;
    there.real = forbidden.path;
    if (top) there = behind_mount(proc, *top, forbidden.path);
    if (lies_below(behind, there)) return refused(path, forbidden.why);
  }
  if (behind.inside.find("/kubernetes.io~empty-dir/") != std::string::npos) return refused(path, kInPods);

  Place place;
  place.path = path;
  place.filesystem = behind.type;
  const std::uint64_t block = static_cast<std::uint64_t>(fs->f_bsize);
  place.free_bytes = static_cast<std::uint64_t>(fs->f_bavail) * block;
  place.total_bytes = static_cast<std::uint64_t>(fs->f_blocks) * block;
  std::uint64_t keep = 0;
  if (keep_out.kubelet) {
    const runtime::Eviction& eviction = keep_out.kubelet->eviction;
    const std::uint64_t margin = place.total_bytes / 100 * kMarginPercent;
    if (same_device(info_of(keep_out.kubelet->root), *info))
      keep = eviction.nodefs.of(place.total_bytes) + margin;
    if (same_device(info_of(keep_out.engine_root), *info)) {
      keep = std::max(keep, eviction.imagefs.of(place.total_bytes) + margin);
    }
  }
  place.kubelet_disk = keep != 0;
  place.allowed_bytes = place.free_bytes > keep ? place.free_bytes - keep : 0;
  if (place.allowed_bytes == 0) {
    return Error{Errc::full, path + ": " + human_size(place.free_bytes) + " free of " +
                                 human_size(place.total_bytes) +
                                 (keep == 0 ? std::string()
                                            : ", and below " + human_size(keep) +
                                                  " kubelet may evict the pod under investigation") +
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
    if (split(mount->options.raw, ',').front() != "rw" || is_at_or_below(mount->mountpoint.raw, "/sys"))
      continue;
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
