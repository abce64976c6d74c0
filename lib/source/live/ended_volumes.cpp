// Volumes of a container that has ended. Nothing sees them through its mounts any more: its record says where
// on the node each lay, and what is there now is taken where it can still be the same:
// lib/collect/SEMANTICS.md.
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/source/live/live.h"
#include "lib/source/live/posture.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"
#include "lib/source/live/volumes.h"

namespace ctriage::source {
namespace {

constexpr int kMaxLinks = 40;  // path_resolution(7)

bool has_option(const HostMount& mount, std::string_view option) {
  return std::ranges::any_of(mount.options, [option](const Bytes& one) { return one.raw == option; });
}

bool is_bind(const HostMount& mount) {
  return mount.type.raw == "bind" || has_option(mount, "bind") || has_option(mount, "rbind");
}

// Bind mounts of the kubelet's own, of a file system that it had mounted or of a part of another volume.
bool is_mounted_for_it(std::string_view recorded) { return kind_of_source(recorded) == GrantKind::volume; }

class EndedFinder {
 public:
  EndedFinder(Node& node, LiveContainer& live, Root top, std::vector<Mount> of_node)
      : node_(node), live_(live), top_(std::move(top)), of_node_(std::move(of_node)) {
    root_device_ = device_of_root(of_node_);
    lasting_ = devices_of_node(of_node_, live.container.engine_root.raw, "/var/lib/kubelet");
  }

  void look_at(const HostMount& asked) {
    const std::string& source = asked.source.raw;
    if (!is_bind(asked) || is_made_by_engine(asked.destination.raw) ||
        kind_of_source(source) == GrantKind::engine)
      return;
    if (kind_of_source(source) == GrantKind::secret)
      return give(Impact::note, asked, Errc::unsupported, std::string(kSecretsNotTaken));
    if (has_option(asked, "ro"))
      return give(Impact::note, asked, Errc::unsupported,
                  source + " of the node was read-only for this container: not taken");
    if (live_.volumes.size() >= kMaxVolumes) {
      ++crowded_;
      return;
    }
    if (auto found = find(asked); !found)
      give(Impact::lost, asked, found.error().code,
           source + " of the node, where this volume was: " + found.error().what);
  }

  void finish() {
    if (crowded_ > 0) live_.volume_gaps.push_back(too_many_volumes(live_, crowded_));
  }

 private:
  void give(Impact impact, const HostMount& asked, Errc code, std::string why) {
    live_.volume_gaps.push_back(
        {impact, "container.volumes", asked.destination.raw, Error{code, std::move(why)}});
  }

  Status find(const HostMount& asked) {
    if (!asked.source.raw.starts_with('/')) return Error{Errc::malformed, "is no absolute path"};
    bool led_later = false;
    auto place = without_links(asked.source.raw, led_later);
    if (!place) return std::move(place).error();
    auto pinned = pin_place(top_, *place);
    if (!pinned) return std::move(pinned).error();
    const auto info = file_info(pinned->get(), *place);
    if (!info) return info.error();
    auto mount = mount_at(pinned->get(), *place, *info);
    if (!mount) return std::move(mount).error();
    if (is_mounted_for_it(asked.source.raw) && (node_.disk || mount->mountpoint.raw != *place))
      return Error{Errc::vanished,
                   "a file system or directory that was mounted there for the pod and is not now"};

    Volume volume;
    volume.mount = *std::move(mount);
    volume.mount.container = live_.container.id;
    volume.mount.mountpoint = asked.destination;
    volume.source = *std::move(place);
    volume.kind = volume_kind(volume.source, live_.container.engine_root.raw);
    volume.directory = info->is_directory();
    // On a disk that was copied each link and directory is as new as the copy.
    const Impact other = node_.disk ? Impact::degraded : Impact::lost;
    if (volume.source != asked.source.raw)
      give(led_later ? other : Impact::note, asked, Errc::changed,
           asked.source.raw + " of the node leads to " + volume.source + " now" +
               (led_later ? ", by a link that is newer than the container: what was mounted may lie elsewhere"
                          : ""));
    if (info->btime && is_later(*info->btime))
      give(
          other, asked, Errc::changed,
          volume.source + " of the node was made after the container started: what was mounted is not there");
    if (node_.disk && volume.kind == VolumeKind::empty_dir)
      give(Impact::note, asked, Errc::vanished, "what an emptyDir of medium Memory had is on no disk");
    clone(volume, *std::move(pinned));
    live_.volumes.push_back(std::move(volume));
    return Done{};
  }

  // Whoever made it then made something else of the place that was mounted.
  [[nodiscard]] bool is_later(Timestamp made) const {
    return live_.container.started_at && made > *live_.container.started_at;
  }

  // As the kernel would go, but that no server is asked, and no link can lead out.
  Result<std::string> without_links(const std::string& path, bool& led_later) {
    std::vector<std::string> left;  // the next one last
    const auto add = [&left](std::string_view names) {
      const auto parts = split(names, '/');
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (!part->empty() && *part != ".") left.emplace_back(*part);
      }
    };
    add(path);
    std::string done;
    for (int links = 0; !left.empty();) {
      const std::string name = std::move(left.back());
      left.pop_back();
      if (name == "..") {
        done = parent_of(done);
        if (done == "/") done.clear();
        continue;
      }
      std::string next = done + "/" + name;
      if (const Mount* server = server_on_the_way(of_node_, root_device_, next))
        return Error{Errc::outside, "not read: the way to it leads over " + server->fstype.raw + " at " +
                                        server->mountpoint.raw + ", whose server may never answer"};
      const auto info = top_.stat_beneath(std::string_view(next).substr(1));
      if (!info)
        return info.error().code == Errc::not_found ? Error{Errc::vanished, "is not there any more"}
                                                    : info.error();
      if (!info->is_symlink()) {
        done = std::move(next);
        continue;
      }
      led_later = led_later || is_later(info->ctime);
      if (++links > kMaxLinks) return Error{Errc::limit, "more than 40 links"};
      const auto target = top_.read_link_beneath(std::string_view(next).substr(1));
      if (!target) return target.error();
      if (target->starts_with('/')) done.clear();
      add(*target);
    }
    return done.empty() ? "/" : done;
  }

  // What lies at `place`, as the mount that shows it there: of the node's table, which a disk has not.
  Result<Mount> mount_at(int fd, const std::string& place, const FileInfo& info) {
    Mount found;
    if (node_.disk) {
      found.device = Hex{info.device()};
      found.root = Bytes(place);
      return found;
    }
    const auto id = mount_id(node_.proc, fd);
    const auto there =
        std::ranges::find_if(of_node_, [&](const Mount& mount) { return id && mount.id == *id; });
    if (there == of_node_.end()) return Error{Errc::outside, "on no file system that the node has mounted"};
    if (is_of_the_kernel(there->fstype.raw))
      return Error{Errc::unsupported, "is the kernel's, no files of anybody"};
    const std::string below =
        there->mountpoint.raw == "/" ? place : place.substr(there->mountpoint.raw.size());
    found = *there;
    found.root = Bytes((there->root.raw == "/" ? "" : there->root.raw) + below);
    if (found.root.raw.empty()) found.root = Bytes("/");
    return found;
  }

  void clone(Volume& volume, UniqueFd pinned) {
    if (volume.kind == VolumeKind::claim || (!node_.disk && !lasting_.contains(volume.mount.device.value))) {
      volume.no_clone = "on a file system of its own, which is not held";
      return;
    }
    const Root there = Root::adopt(std::move(pinned), volume.source);
    if (auto held = hold_clone(volume, there, node_); !held) volume.no_clone = held.error().what;
  }

  Node& node_;
  LiveContainer& live_;
  Root top_;
  std::vector<Mount> of_node_;
  std::set<std::uint64_t> lasting_;
  Hex root_device_;
  std::uint64_t crowded_ = 0;
};

}  // namespace

void find_ended_volumes(Node& node, LiveContainer& live, Task& task) {
  if (std::ranges::none_of(live.container.mounts, is_bind)) return;
  auto top = node.root();
  auto of_node = node.disk ? Result<std::vector<Mount>>(std::vector<Mount>())
                           : proc::read_mounts(node.proc, node.host, task);
  if (!top || !of_node) {
    const Error& error = top ? of_node.error() : top.error();
    live.volume_gaps.push_back({Impact::lost, "container.volumes", live.container.id,
                                Error(error).within("where its volumes were is not known")});
    return;
  }
  EndedFinder finder(node, live, *std::move(top), *std::move(of_node));
  for (const HostMount& asked : live.container.mounts) finder.look_at(asked);
  finder.finish();
}

}  // namespace ctriage::source
