// Group "volumes": what the containers may write to beside their layers and tmpfs. SEMANTICS.md.
#include "lib/collect/volumes.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "lib/collect/tree.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/overlay/tree.h"
#include "lib/source/live/trees.h"

namespace ctriage::collect {
namespace {

using overlay::Part;
using overlay::Wish;
using source::LiveContainer;
using source::Volume;
using source::VolumeKind;

constexpr std::uint64_t kForTheRest = 64 << 20;  // of --max-bytes, for what comes after the volumes

struct Turn {
  LiveContainer* live = nullptr;
  const Volume* volume = nullptr;
};

// One volume: first what is newer than the container, then the rest, each name once.
class TakeVolume final : public TakeTree {
 public:
  TakeVolume(Collection& in, const LiveContainer& live, const Volume& volume, bool directory,
             std::uint64_t room_bytes, archive::LayerWriter& layer, bundle::Stream& files)
      : TakeTree(in, source::top_of(volume.mount.mountpoint.raw, directory), layer, files),
        in_(in),
        live_(live),
        volume_(volume),
        system_(volume.kind == VolumeKind::system),
        since_(source::start_of(in.snapshot.node(), live.container)),
        room_bytes_(room_bytes),
        over_size_("over --volume-max " + human_size(in.options.volume_max_bytes)) {
    const std::string& engine = live.container.engine_root.raw;
    if (system_ && engine.size() > 1 && engine != volume.source && is_at_or_below(engine, volume.source))
      engine_ = volume.source == "/" ? engine : engine.substr(volume.source.size());
  }

  void begin_second_pass() {
    std::ranges::sort(newer_);
    second_ = true;
    unlisted_ = 0;  // they come once more
  }
  Wish wish(std::string_view path, const FileInfo& info) {
    if (!engine_.empty() && path == engine_) return {Part::outside};
    const bool newer = info.ctime >= since_ || (info.btime && *info.btime >= since_);
    if (!second_ && !newer) return {Part::nothing};
    if (second_ && newer && std::ranges::binary_search(newer_, info.inode)) return {Part::nothing};
    const bool old_of_node = system_ && second_ && !newer;
    if (records_ >= kMaxVolumeRecords || (old_of_node && old_records_ >= kMaxSystemRecords)) {
      ++unlisted_;
      return {Part::nothing};
    }
    ++records_;
    if (newer) {
      if (!second_) newer_.push_back(info.inode);
      ++counted_newer_;
    } else {
      ++old_records_;
    }
    if (!info.is_regular()) return {Part::whole};
    if (old_of_node) return {Part::state, "of the node, and older than the container"};
    return wish_bytes(info, newer);
  }

  Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
              const std::shared_ptr<LateSha256>& hash) override {
    bytes_ += bytes.size();
    return TakeTree::data(offset_bytes, bytes, hash);
  }
  Status change(FileChange&& change) override {
    links_ += change.after && change.after->link_target;
    if (!second_) {
      FileChange named = change;
      named.path = Bytes(source::in_container(mount(), change.path.raw));
      const Emit<Finding> found = [this](Finding&& finding) { return in_.add_finding(std::move(finding)); };
      if (auto told = in_.engine.evaluate(named, live_.container, in_.snapshot.name(), found); !told)
        return told;
    }
    return TakeTree::change(std::move(change));
  }

  // What was not listed or not taken, and what looking may have changed.
  void tell() {
    if (unlisted_ > 0)
      gap(Impact::lost, Errc::limit,
          counted(unlisted_, "name is", "names are") + " not listed: " + counted(records_, "name", "names") +
              " of this volume are, what is newer than the container first");
    if (without_room_ > 0)
      gap(Impact::lost, Errc::limit,
          "bytes of " + counted(without_room_, "file", "files") +
              " are not taken: no room within --max-bytes for them and what comes after the volumes");
    if (newer_left_ > 0)
      gap(Impact::lost, Errc::limit,
          "bytes of " + counted(newer_left_, "file", "files") +
              " newer than the container are not taken: more than " + human_size(kMaxVolumeBytes) +
              " of this volume are");
    if (links_ > 0 && !volume_.clone)
      in_.task.gaps.add({Impact::degraded, "atime", volume_.mount.mountpoint.raw,
                         Error{Errc::unsupported,
                               "read in place, links may change their access time: " + volume_.no_clone}});
    if (system_)
      gap(Impact::note, Errc::limit,
          volume_.source + " of the node: bytes of what is newer than the container only" +
              (engine_.empty() ? "" : ", and " + live_.container.engine_root.raw + " left out"));
    in_.counts.volume_files += records_;
    in_.counts.volume_newer += counted_newer_;
  }

 private:
  Wish wish_bytes(const FileInfo& info, bool newer) {
    const std::uint64_t on_disk = std::min(info.allocated_bytes, info.size_bytes);
    if (bytes_ + on_disk > room_bytes_) {
      ++without_room_;
      return {Part::state, "no room within --max-bytes"};
    }
    const bool small = info.size_bytes <= in_.options.volume_max_bytes;
    std::uint64_t& taken = newer ? newer_bytes_ : old_bytes_;
    if (small && taken + info.size_bytes <= kMaxVolumeBytes) {
      taken += info.size_bytes;
      return {Part::whole};
    }
    if (small && newer) ++newer_left_;
    std::string_view why = over_size_;
    if (small) why = "over the limit of 4 GiB of one volume";
    if (on_disk <= kMaxVolumeProgramBytes) return {Part::program, why};
    if ((info.mode & 0111) != 0)
      gap(Impact::lost, Errc::limit, "a program of " + human_size(on_disk) + " is not taken");
    return {Part::state, why};
  }
  void gap(Impact impact, Errc code, std::string why) {
    in_.task.gaps.add(
        {impact, "container.volumes", volume_.mount.mountpoint.raw, Error{code, std::move(why)}});
  }

  Collection& in_;
  const LiveContainer& live_;
  const Volume& volume_;
  const bool system_;
  const Timestamp since_;
  const std::uint64_t room_bytes_;
  const std::string over_size_;
  std::string engine_;  // the engine's directory, as a path of the volume: the layers of all containers
  bool second_ = false;
  std::vector<std::uint64_t> newer_;  // inodes that the first pass gave
  std::uint64_t records_ = 0;
  std::uint64_t old_records_ = 0;
  std::uint64_t counted_newer_ = 0;
  std::uint64_t unlisted_ = 0;
  std::uint64_t without_room_ = 0;
  std::uint64_t links_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t old_bytes_ = 0;
  std::uint64_t newer_bytes_ = 0;
  std::uint64_t newer_left_ = 0;
};

class TakeVolumes {
 public:
  explicit TakeVolumes(Collection& in) : in_(in) {
    for (LiveContainer& live : in.snapshot.containers()) {
      for (const Volume& volume : live.volumes) turns_.push_back({&live, &volume});
    }
    // What is gone with the pod first; of two that show the same the one that shows more of it.
    std::ranges::stable_sort(turns_, [](const Turn& a, const Turn& b) {
      if (a.volume->kind != b.volume->kind) return a.volume->kind < b.volume->kind;
      return a.volume->mount.root.raw.size() < b.volume->mount.root.raw.size();
    });
  }

  Status take() {
    for (const LiveContainer& live : in_.snapshot.containers()) {
      for (const Gap& gap : live.volume_gaps) in_.task.gaps.add(gap);
    }
    Status going = Done{};
    for (const Turn& turn : turns_) {
      if (going) {
        going = take(turn);
        continue;
      }
      not_collected(turn, Error(going.error()).within("not reached"));
    }
    return going;
  }

 private:
  [[nodiscard]] std::string path_of(const Turn& turn, std::string_view ending) const {
    return in_.path_of(*turn.live,
                       stem_of("volumes", turn.volume->mount.mountpoint.view()) + std::string(ending));
  }
  static std::string source_of(const Turn& turn) {
    return "volume " + turn.volume->mount.mountpoint.raw + " (" + std::string(to_text(turn.volume->kind)) +
           " " + turn.volume->source + ")";
  }

  void not_collected(const Turn& turn, Error why) {
    const std::string path = in_.bulk_path(path_of(turn, ".tar"));
    // Of two at one place the one that is not covered is taken, under the same name.
    const auto is_here = [&](const Volume& other) {
      return other.mount.mountpoint == turn.volume->mount.mountpoint;
    };
    if (std::ranges::count_if(turn.live->volumes, is_here) == 1)
      in_.out.not_collected(path, source_of(turn), why.what);
    in_.task.gaps.add({Impact::lost, "container.volumes", turn.volume->mount.mountpoint.raw, std::move(why)});
  }

  // One that was taken and shows all that this one does.
  [[nodiscard]] const Turn* shown_by(const Turn& turn) const {
    const Mount& mount = turn.volume->mount;
    const auto shows = [&](const Turn& other) {
      const Mount& whole = other.volume->mount;
      if (whole.device != mount.device || !is_at_or_below(mount.root.raw, whole.root.raw)) return false;
      if (whole.root == mount.root) return true;
      if (other.volume->kind == VolumeKind::system) return false;  // not all of it is taken
      if (other.volume->clone) return true;
      // Read in place it ends where something is mounted.
      const std::string below = mount.root.raw.substr(whole.root.raw == "/" ? 0 : whole.root.raw.size());
      const std::string place = whole.mountpoint.raw + below;
      return std::ranges::none_of(other.live->mounts, [&](const Mount& over) {
        return over.mountpoint != whole.mountpoint && is_at_or_below(place, over.mountpoint.raw) &&
               is_at_or_below(over.mountpoint.raw, whole.mountpoint.raw);
      });
    };
    const auto found = std::ranges::find_if(taken_, shows);
    return found == taken_.end() ? nullptr : &*found;
  }

  Status take(const Turn& turn) {
    const std::string& mountpoint = turn.volume->mount.mountpoint.raw;
    if (const Turn* whole = shown_by(turn)) {
      const bool same = whole->volume->mount.root == turn.volume->mount.root;
      const std::string path = path_of(*whole, "");
      in_.task.gaps.add({Impact::note, "container.volumes", turn.live->container.name.raw + ":" + mountpoint,
                         Error{Errc::unsupported, std::string("shows ") + (same ? "" : "a part of ") +
                                                      "what " + whole->live->container.name.raw + ":" +
                                                      whole->volume->mount.mountpoint.raw +
                                                      " shows: taken once, " + path}});
      return Done{};
    }
    auto opened = source::open_volume(in_.snapshot.node(), *turn.live, *turn.volume, in_.task);
    if (!opened) {
      not_collected(turn, std::move(opened).error());
      return Done{};
    }
    taken_.push_back(turn);
    if (!turn.volume->clone && !turn.live->ended) tell_covered(turn);
    const auto is_known = [&](std::string_view below) {
      const std::string place = (mountpoint == "/" ? "" : mountpoint) + std::string(below);
      return std::ranges::any_of(turn.live->mounts,
                                 [&](const Mount& mount) { return mount.mountpoint.raw == place; });
    };
    TakeVolume* visitor = nullptr;
    overlay::PlainTree tree{opened->root, in_.snapshot.node().touched, turn.live->container.id, is_known};
    tree.wish = [&](std::string_view path, const FileInfo& info) { return visitor->wish(path, info); };
    tree.most_names = kMaxVolumeNames;
    const auto walk_once = [&](Task& task) {
      return opened->directory
                 ? overlay::walk_plain(tree, *visitor, task)
                 : overlay::take_plain_file(tree, opened->root.fd(), file_of(mountpoint), *visitor, task);
    };
    const WalkTree walk = [&](archive::LayerWriter& layer, bundle::Stream& files) -> Status {
      TakeVolume taking(in_, *turn.live, *turn.volume, opened->directory, room_bytes(), layer, files);
      visitor = &taking;
      // Both meet the same directories, and what is in the way there is told once.
      std::set<std::tuple<Impact, std::string, std::string, Errc>> told;
      const GapLog::Sink tell_once = [&](const Gap& gap) {
        if (told.emplace(gap.impact, gap.artifact, gap.origin, gap.error.code).second) in_.task.gaps.add(gap);
      };
      Status walked = Done{};
      for (const bool second : {false, true}) {
        if (!walked) break;
        if (second) taking.begin_second_pass();
        GapLog log(tell_once);
        Task task = in_.task.with(log);
        walked = walk_once(task);
        log.finish();
      }
      taking.tell();
      return walked;
    };
    const LayerPaths paths{in_.bulk_path(path_of(turn, ".tar")), path_of(turn, ".jsonl"), source_of(turn)};
    auto taken = take_layer(in_, paths, "container.volumes", walk);
    if (!taken) return std::move(taken).error();
    if (*taken) ++in_.counts.volumes;
    return Done{};
  }

  // Read in place: what is mounted below hides a part of it, and who put it there may have had a reason.
  void tell_covered(const Turn& turn) {
    const std::string& mountpoint = turn.volume->mount.mountpoint.raw;
    std::set<std::string> told;
    for (const Mount& over : turn.live->mounts) {
      const std::string& place = over.mountpoint.raw;
      if (place == mountpoint || !is_at_or_below(place, mountpoint) || !told.insert(place).second) continue;
      in_.task.gaps.add(
          {Impact::degraded, "container.volumes", mountpoint,
           Error{Errc::outside, place + " (" + over.fstype.raw +
                                    ") is mounted over a part of it: what lies below is not read"}});
    }
  }

  static std::string file_of(const std::string& mountpoint) {
    return mountpoint.substr(mountpoint.rfind('/'));
  }

  // Uncompressed, of what is left: logs and the node come after it.
  [[nodiscard]] std::uint64_t room_bytes() const {
    const std::uint64_t most = in_.options.max_bytes;
    if (most == UINT64_MAX) return most;
    const std::uint64_t left = most - std::min(most, in_.out.size_bytes());
    std::uint64_t reserved = kForTheRest;
    for (const LiveContainer& live : in_.snapshot.containers()) {
      for (const source::HeldLog& held : live.logs) reserved += held.log.size_bytes;
    }
    return left - std::min(reserved, left / 2);
  }

  Collection& in_;
  std::vector<Turn> turns_;
  std::vector<Turn> taken_;
};

}  // namespace

Status take_volumes(Collection& in) { return TakeVolumes(in).take(); }

}  // namespace ctriage::collect
