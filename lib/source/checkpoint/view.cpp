#include "lib/source/checkpoint/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <set>

#include "lib/core/limits.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/source/checkpoint/trees.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxLinks = 40;                 // as the kernel has it: path_resolution(7)
constexpr std::string_view kUnlinked = " (deleted)";  // as the kernel writes it in /proc

std::string plain_path(std::string_view path) {
  std::string plain;
  for (const std::string_view part : split(path, '/')) {
    if (part == "..") {
      plain.resize(plain.empty() ? 0 : plain.rfind('/'));
    } else if (!part.empty() && part != ".") {
      plain.append("/").append(part);
    }
  }
  return plain.empty() ? "/" : plain;
}

// What lies at `path` under `at`, as a path from `root`.
std::string moved(const std::string& path, const std::string& at, const std::string& root) {
  const std::string rest = at == "/" ? path : path.substr(at.size());
  return plain_path(root + "/" + rest);
}

}  // namespace

CheckpointView::CheckpointView(const CheckpointPart& part, const CheckpointTasks* tasks) : part_(part) {
  find_mounts(tasks);
  if (tasks != nullptr) ghost_names_ = tasks->ghost_names();
}

void CheckpointView::add_mount(Mounted mount) {
  if (mount.at != "/") mounts_.push_back(std::move(mount));
}

void CheckpointView::find_mounts(const CheckpointTasks* tasks) {
  const auto at_base = [&](const std::string& name, Mounted& into) {
    if (into.store != nullptr || part_.base == nullptr) return;
    const StoredFile* file = part_.base->find(part_.base_dir + name);
    if (file == nullptr || file->type != FileType::regular) return;
    into.store = part_.base;
    into.stored = part_.base_dir + name;
    into.root = "/";
  };
  const auto with_engine = [&](Mounted& into) {
    if (into.at == "/dev/shm") at_base(std::string(kDevShmTar), into);
    for (const HostMount& wanted : part_.container.mounts) {
      if (plain_path(wanted.destination.raw) != into.at) continue;
      const std::string volume = volume_tar_of(wanted.source.raw);
      if (!volume.empty()) at_base(volume, into);
    }
    if (part_.form != CheckpointForm::docker || parent_of(into.at) != "/etc") return;
    const std::string name = into.at.substr(into.at.rfind('/') + 1);
    if (name != "hosts" && name != "hostname" && name != "resolv.conf") return;
    at_base(name, into);
    into.is_file = into.store != nullptr;
  };
  if (tasks == nullptr) {  // what the specification asked for
    for (const HostMount& wanted : part_.container.mounts) {
      Mounted mount;
      mount.at = plain_path(wanted.destination.raw);
      mount.what = wanted.type.raw;
      with_engine(mount);
      add_mount(std::move(mount));
    }
    return;
  }
  // Of several at one place the one that lies on the others.
  std::set<std::uint32_t> covered;
  std::map<std::uint32_t, const Mount*> by_id;
  for (const Mount& mount : tasks->mounts) by_id[mount.id] = &mount;
  for (const Mount& mount : tasks->mounts) {
    const auto on = by_id.find(mount.parent_id);
    if (on != by_id.end() && on->second->mountpoint == mount.mountpoint && on->second != &mount)
      covered.insert(mount.parent_id);
  }
  for (const Mount& mount : tasks->mounts) {
    if (covered.contains(mount.id)) continue;
    Mounted made;
    made.at = plain_path(mount.mountpoint.raw);
    made.what = mount.fstype.empty() ? mount.source.raw : mount.fstype.raw;
    made.root = mount.root.empty() ? "/" : mount.root.raw;
    for (const std::string& name : tmpfs_tars_of(mount)) {
      if (made.store != nullptr || part_.images->find(part_.image_dir + name) == nullptr) continue;
      made.store = part_.images;
      made.stored = part_.image_dir + name;
    }
    with_engine(made);
    add_mount(std::move(made));
  }
}

Result<CheckpointTree*> CheckpointView::tree_of(CheckpointStore& store, const std::string& tar,
                                                bool whiteouts, Task& task) {
  auto& tree = trees_[store.name() + "!" + tar];
  if (tree != nullptr) return tree.get();
  auto made = std::make_unique<CheckpointTree>(store, tar, whiteouts);
  if (auto loaded = made->load(room_bytes_, task); !loaded) return std::move(loaded).error();
  tree = std::move(made);
  return tree.get();
}

Status CheckpointView::prepare(const std::string& layer, Task& task) {
  if (layer != "merged" && layer != "upper")
    return Error{Errc::unsupported,
                 "layer " + layer + ": a checkpoint has the upper layer only: the image's are not in it"};
  if (std::exchange(prepared_, true)) return Done{};
  if (part_.layer_store != nullptr) {
    auto tree = tree_of(*part_.layer_store, part_.layer, !leaves_out_changes(part_.form), task);
    if (!tree) return std::move(tree).error();
    upper_ = *tree;
  }
  const std::string deleted = part_.base_dir + std::string(kDeletedFiles);
  if (part_.base != nullptr && part_.base->find(deleted) != nullptr) {
    const auto text = part_.base->read(deleted, kMaxJsonBytes);
    const auto names = text ? parse_string_list(*text) : Result<std::vector<std::string>>(text.error());
    if (!names) {
      task.gaps.add({Impact::lost, "checkpoint.files", part_.base->name() + "!" + deleted, names.error()});
    } else {
      if (upper_ == nullptr) {
        auto& made = trees_["deleted"];
        made = std::make_unique<CheckpointTree>(*part_.base, deleted, false);
        upper_ = made.get();
      }
      for (const std::string& name : *names) upper_->add_deleted(name, room_bytes_);
      upper_->settle();
    }
  }
  for (const auto& [image, path] : ghost_names_) {
    Deleted made{part_.image_dir + image, std::nullopt};
    auto ghost = read_ghost(*part_.images, made.image);
    if (ghost) made.ghost = *std::move(ghost);
    if (!ghost)
      task.gaps.add(
          {Impact::lost, "checkpoint.files", part_.images->name() + "!" + made.image, ghost.error()});
    deleted_.emplace(plain_path(path), std::move(made));
  }
  return Done{};
}

const CheckpointView::Mounted* CheckpointView::mount_over(const std::string& path) const {
  const Mounted* over = nullptr;
  for (const Mounted& mount : mounts_) {
    if (is_at_or_below(path, mount.at) && (over == nullptr || mount.at.size() > over->at.size()))
      over = &mount;
  }
  return over;
}

Result<CheckpointView::Place> CheckpointView::place_of(const std::string& path, bool merged, Task& task) {
  Place place;
  place.path = path;
  place.mount = merged ? mount_over(path) : nullptr;
  place.inside = path;
  if (place.mount == nullptr) {
    place.tree = upper_;
  } else if (place.mount->store != nullptr && !place.mount->is_file) {
    auto tree = tree_of(*place.mount->store, place.mount->stored, false, task);
    if (!tree) return std::move(tree).error();
    place.tree = *tree;
    place.inside = moved(path, place.mount->at, place.mount->root);
  }
  if (place.tree != nullptr) place.node = place.tree->find(place.inside);
  return place;
}

// path_resolution(7), in the container's root; what is not in the archive is taken for a directory.
Result<CheckpointView::Place> CheckpointView::walk(const FileKey& key, Task& task) {
  const bool merged = key.layer == "merged";
  std::deque<std::string> left;
  for (const std::string_view part : split(key.path, '/')) left.emplace_back(part);
  std::size_t links = 0;
  auto here = place_of("/", merged, task);
  while (here && !left.empty()) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const std::string name = std::move(left.front());
    left.pop_front();
    if (name.empty() || name == ".") continue;
    std::string next = name == ".." ? parent_of(here->path) : child_of(here->path, name);
    if (next.size() > kMaxMemberNameBytes) return Error{Errc::limit, key.path + ": a path over 4096 bytes"};
    auto there = place_of(next, merged, task);
    if (!there) return there;
    const TreeNode* node = there->node;
    const bool last = std::ranges::all_of(left, [](const std::string& each) { return each.empty(); });
    if (node != nullptr && node->type == FileType::symlink && !node->whiteout && (!last || key.follow)) {
      if (++links > kMaxLinks) return Error{Errc::limit, key.path + ": over 40 links behind one another"};
      const auto parts = split(node->link, '/');
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) left.emplace_front(*part);
      if (node->link.starts_with('/')) here = place_of("/", merged, task);
      continue;
    }
    const bool is_directory = node == nullptr || node->whiteout || node->type == FileType::directory;
    if (!last && !is_directory) return Error{Errc::not_found, key.path + ": " + next + " is not a directory"};
    here = std::move(there);
  }
  return here;
}

// Never more than the archive can say.
Error CheckpointView::not_here(const Place& place, bool merged) const {
  const std::string& path = place.path;
  if (place.mount != nullptr && place.mount->store == nullptr) {
    return {Errc::outside, path + ": at or below " + place.mount->at + ": a mount (" + place.mount->what +
                               "): what lay there is not in this checkpoint"};
  }
  if (place.tree != nullptr && !place.tree->whole())
    return {Errc::truncated, path + ": not in what can be read of " + place.tree->origin()};
  if (place.mount != nullptr)
    return {Errc::not_found, path + ": no such file in the " + place.mount->what + " at " + place.mount->at};
  const std::string elsewhere = "; the image's own files are not in a checkpoint";
  if (place.tree != nullptr) {
    for (std::string at = path;; at = parent_of(at)) {
      const TreeNode* node = place.tree->find(at);
      if (node != nullptr && node->whiteout)
        return {Errc::not_found, path + ": deleted" + (at == path ? "" : " with " + at) + elsewhere};
      if (node != nullptr && node->opaque && at != path)
        return {Errc::not_found,
                path + ": no such file: what the image had in " + at + " is hidden (opaque)"};
      if (at == "/") break;
    }
  }
  std::string what = path + ": not in this checkpoint: ";
  if (part_.layer_store == nullptr) {
    what += "it has no changes of the root file system";
  } else if (leaves_out_changes(part_.form)) {
    what += "not added, or a changed file that Podman and CRI-O leave out";
  } else {
    what += "not changed";
  }
  return {Errc::not_found, what + (merged ? elsewhere : "")};
}

FileEntry CheckpointView::entry_of(const std::string& path, const CheckpointTree& tree,
                                   const TreeNode& node) const {
  FileEntry entry;
  entry.container = part_.container.id;
  entry.path = Bytes(path);
  entry.stored_in = Bytes(tree.tar());
  FileState& file = entry.file;
  file.type = node.whiteout ? FileType::unknown : node.type;
  file.mode = node.mode;
  file.uid = node.uid;
  file.gid = node.gid;
  file.mtime = node.mtime;
  file.size_bytes = node.size_bytes;
  file.allocated_bytes = node.stored_bytes;
  if (node.type == FileType::symlink) file.link_target = Bytes(node.link);
  if (node.whiteout) entry.gone = "whiteout";
  if (node.opaque) entry.gone = "opaque";
  if (!node.told && !node.whiteout && !node.opaque)
    entry.partial = "a directory of which the archive has only what lies in it";
  if (node.type == FileType::regular && node.content == TreeNode::Content::none && !node.whiteout)
    entry.partial = "a hard link to what is not in the archive";
  return entry;
}

FileEntry CheckpointView::entry_of(const std::string& path, const Deleted& deleted) const {
  FileEntry entry;
  entry.container = part_.container.id;
  entry.path = Bytes(path);
  entry.stored_in = Bytes(deleted.image);
  entry.gone = "unlinked";
  if (deleted.ghost) entry.file = deleted.ghost->file;
  if (!deleted.ghost) entry.partial = "its image cannot be read";
  return entry;
}

FileEntry CheckpointView::entry_of(const Mounted& mount) const {
  FileEntry entry;
  entry.container = part_.container.id;
  entry.path = Bytes(mount.at);
  entry.stored_in = Bytes(mount.stored);
  const StoredFile* file = mount.store->find(mount.stored);
  entry.file.type = FileType::regular;
  entry.file.size_bytes = entry.file.allocated_bytes = file->size_bytes;
  entry.file.mtime = file->mtime;
  return entry;
}

Result<FileEntry> CheckpointView::entry_of_mount(const Mounted& mount, Task& task) {
  if (mount.is_file) return entry_of(mount);
  auto place = place_of(mount.at, true, task);
  if (!place) return std::move(place).error();
  if (place->node == nullptr) return not_here(*place, true);
  return entry_of(mount.at, *place->tree, *place->node);
}

Status CheckpointView::list_below(const Place& place, bool merged, const Emit<FileEntry>& emit, Task& task) {
  std::map<std::string, const Mounted*> over;
  if (merged) {
    for (const Mounted& mount : mounts_) {
      if (parent_of(mount.at) == place.path) over[mount.at] = &mount;
    }
  }
  if (place.tree != nullptr) {
    auto listed =
        place.tree->each_child(place.inside, [&](const std::string& name, const TreeNode& node) -> Status {
          if (auto go_on = task.check(); !go_on) return go_on;
          const std::string path = child_of(place.path, name);
          if ((merged && node.whiteout) || over.contains(path)) return Done{};
          return emit(entry_of(path, *place.tree, node));
        });
    if (!listed) return listed;
  }
  for (const auto& [path, deleted] : deleted_) {
    if (parent_of(path) != place.path) continue;
    if (auto emitted = emit(entry_of(path, deleted)); !emitted) return emitted;
  }
  for (const auto& [path, mount] : over) {
    auto entry =
        mount->store == nullptr
            ? Error{Errc::outside, "a mount (" + mount->what + "): what lay there is not in this checkpoint"}
            : entry_of_mount(*mount, task);
    if (entry) {
      if (auto emitted = emit(*std::move(entry)); !emitted) return emitted;
      continue;
    }
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({mount->store == nullptr ? Impact::note : Impact::lost, "container.files", path,
                   std::move(entry).error()});
  }
  return Done{};
}

Status CheckpointView::list(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  if (auto prepared = prepare(key.layer, task); !prepared) return prepared;
  const bool merged = key.layer == "merged";
  auto place = walk(key, task);
  if (!place) return std::move(place).error();
  if (place->mount != nullptr && place->mount->is_file && place->mount->at == place->path)
    return emit(entry_of(*place->mount));
  const TreeNode* node = place->node;
  const bool there = node != nullptr && (!node->whiteout || !merged);
  if (there && (node->whiteout || node->type != FileType::directory))
    return emit(entry_of(place->path, *place->tree, *node));
  std::size_t seen = 0;
  const Emit<FileEntry> counted = [&](FileEntry&& entry) {
    ++seen;
    return emit(std::move(entry));
  };
  const bool hidden = place->mount != nullptr && place->mount->store == nullptr;
  if (auto listed = list_below(*place, merged, counted, task); !listed) return listed;
  if (!there && seen == 0) {
    for (auto [at, end] = deleted_.equal_range(place->path); at != end; ++at) {
      if (auto emitted = counted(entry_of(place->path, at->second)); !emitted) return emitted;
    }
  }
  if (!there && seen == 0 && (hidden || place->path != "/")) return not_here(*place, merged);
  if (hidden) task.gaps.add({Impact::lost, "container.files", place->path, not_here(*place, merged)});
  if (place->mount == nullptr && merged && !(node != nullptr && node->opaque))
    task.gaps.add({Impact::note, "container.files", place->path,
                   Error{Errc::unsupported, "a checkpoint has what was changed, not the image's own files"}});
  return Done{};
}

Result<OpenedFile> CheckpointView::open(const FileKey& key, Task& task) {
  if (auto prepared = prepare(key.layer, task); !prepared) return std::move(prepared).error();
  const bool merged = key.layer == "merged";
  auto place = walk(key, task);
  if (!place) return std::move(place).error();
  if (place->mount != nullptr && place->mount->is_file && place->mount->at == place->path) {
    auto bytes = place->mount->store->bytes_of(place->mount->stored);
    if (!bytes) return std::move(bytes).error();
    FileEntry entry = entry_of(*place->mount);
    const std::uint64_t size = entry.file.size_bytes;
    return OpenedFile{std::move(entry), archive::in_order(*std::move(bytes), 0, size, task)};
  }
  const TreeNode* node = place->node;
  if (node != nullptr && !node->whiteout && (node->told || !deleted_.contains(place->path))) {
    OpenedFile opened{entry_of(place->path, *place->tree, *node), nullptr};
    if (node->type != FileType::regular) return opened;
    auto bytes = place->tree->open(place->inside, *node, task);
    if (!bytes) return std::move(bytes).error();
    opened.bytes = *std::move(bytes);
    return opened;
  }
  // A file without a name, by the one it had, also as the kernel writes that.
  std::string name = place->path;
  if (!deleted_.contains(name) && name.ends_with(kUnlinked)) name.resize(name.size() - kUnlinked.size());
  const auto [first, end] = deleted_.equal_range(name);
  if (first == end) return not_here(*place, merged);
  if (std::next(first) != end) {
    task.gaps.add({Impact::degraded, "container.files", name,
                   Error{Errc::mismatch,
                         "several deleted files had this name: the first is taken, " + first->second.image}});
  }
  if (!first->second.ghost)
    return Error{Errc::malformed, name + ": " + first->second.image + " cannot be read"};
  OpenedFile opened{entry_of(name, first->second), nullptr};
  if (opened.entry.file.type != FileType::regular) return opened;
  auto bytes = open_ghost(*part_.images, first->second.image, *first->second.ghost, task);
  if (!bytes) return std::move(bytes).error();
  opened.bytes = *std::move(bytes);
  return opened;
}

}  // namespace ctriage::source
