#include "lib/source/image/tree.h"

#include "lib/core/path.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxPathParts = 8'192;
constexpr std::size_t kPlacedBytes = 112;  // what the map keeps beside a name

// What is said of a layer with the words for checkpoints.
void pass_on(GapLog& from, const Task& to) {
  from.finish();
  for (Gap gap : from.kept()) {
    gap.artifact = "image.layer";
    to.gaps.add(gap);
  }
}

}  // namespace

Result<std::unique_ptr<ImageTree>> ImageTree::load(CheckpointStore& store, const StoredImage& image,
                                                   const Task& lasting, Task& task) {
  std::unique_ptr<ImageTree> tree(new ImageTree);
  std::size_t room = kMaxImageTreeBytes;
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const ImageBlob& blob = image.layers[i];
    const auto lose = [&](Error error) {
      tree->lossy_ = true;
      task.gaps.add({Impact::lost, "image.layer", store.name() + "!" + blob.file, std::move(error)});
    };
    auto digest = digest_of(store, blob.file, task);
    if (!digest) {
      if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
      lose(digest.error());
    } else if (!blob.digest.empty() && blob.digest != *digest) {
      lose({Errc::mismatch, "its SHA-256 is " + *digest + ", the manifest has " + blob.digest});
    }
    auto opened = LayerStore::open(store, blob.file, tree->keep_room_, lasting);
    if (!opened) {
      if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
      if (digest) lose(std::move(opened).error());
      tree->stores_.push_back(nullptr);
      tree->trees_.push_back(nullptr);
      continue;
    }
    const bool plain = !(*opened)->is_in_order();
    if (plain && digest && blob.digest.empty() && *digest != image.config.layers[i].digest)
      lose({Errc::mismatch,
            "its SHA-256 is " + *digest + ", the configuration has " + image.config.layers[i].digest});
    tree->stores_.push_back(*std::move(opened));
    tree->trees_.push_back(
        std::make_unique<CheckpointTree>(*tree->stores_.back(), std::string(kLayerTar), true));
    GapLog aside;
    Task loading = task.with(aside);
    auto loaded = tree->trees_.back()->load(room, loading);
    tree->lossy_ = tree->lossy_ || aside.count(Impact::lost) > 0;
    pass_on(aside, task);
    if (!loaded) return std::move(loaded).error();
    auto laid = tree->lay(static_cast<std::uint32_t>(i + 1), task);
    if (laid) continue;
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    lose(std::move(laid).error());
  }
  return tree;
}

// A directory before what lies in it.
Status ImageTree::walk(const CheckpointTree& tree, const EachNode& take, const Task& task) {
  std::vector<std::string> todo{"/"};
  while (!todo.empty()) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const std::string directory = std::move(todo.back());
    todo.pop_back();
    auto taken = tree.each_child(directory, [&](const std::string& name, const TreeNode& node) {
      const std::string path = child_of(directory, name);
      if (node.type == FileType::directory) todo.push_back(path);
      return take(path, node);
    });
    if (!taken) return taken;
  }
  return Done{};
}

const ImageTree::Placed* ImageTree::at(const std::string& path) const {
  const auto found = image_.find(path);
  return found == image_.end() ? nullptr : &found->second;
}

Result<std::string> ImageTree::resolve(std::string_view path, bool follow_last) const {
  std::vector<std::string> todo;  // the next part is the last
  const auto push = [&](std::string_view text) {
    const auto parts = split(text, '/');
    for (auto part = parts.rbegin(); part != parts.rend(); ++part)
      if (!part->empty() && *part != ".") todo.emplace_back(*part);
    return todo.size() <= kMaxPathParts;
  };
  const Error over{Errc::limit, std::string(path) + ": leads through too many links"};
  if (!push(path)) return over;
  std::string reached = "/";
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.back());
    todo.pop_back();
    if (part == "..") {
      reached = parent_of(reached);
      continue;
    }
    std::string next = child_of(reached, part);
    const Placed* placed = at(next);
    if (placed != nullptr && placed->node->type == FileType::symlink && (follow_last || !todo.empty())) {
      if (++links > kMaxImageLinks || !push(placed->node->link)) return over;
      if (placed->node->link.starts_with('/')) reached = "/";
      continue;
    }
    reached = std::move(next);
    if (reached.size() > kMaxMemberNameBytes) return over;
  }
  return reached;
}

void ImageTree::erase_below(const std::string& path) {
  const std::string prefix = path == "/" ? path : path + "/";
  for (auto each = image_.lower_bound(prefix); each != image_.end() && each->first.starts_with(prefix);) {
    if (each->first == "/") {
      ++each;
      continue;
    }
    names_room_ += each->first.size() + kPlacedBytes;
    each = image_.erase(each);
  }
}

Status ImageTree::place(const std::string& path, Placed placed) {
  const auto found = image_.find(path);
  if (found != image_.end()) {
    found->second = placed;
    return Done{};
  }
  const std::size_t cost = path.size() + kPlacedBytes;
  if (cost > names_room_)
    return Error{Errc::limit,
                 "names of the image take over " + std::to_string(kMaxImageNamesBytes) + " bytes"};
  names_room_ -= cost;
  image_.emplace(path, placed);
  return Done{};
}

// What the layer deletes is of those below it: first of all, whatever the order of its tar.
Status ImageTree::lay(std::uint32_t layer, Task& task) {
  const CheckpointTree& tree = *trees_[layer - 1];
  const auto target_of = [&](const std::string& path) -> Result<std::string> {
    auto parent = resolve(parent_of(path), true);
    if (!parent) return std::move(parent).error();
    return child_of(*parent, path.substr(path.rfind('/') + 1));
  };
  if (const TreeNode* top = tree.find("/"); top != nullptr) {
    if (top->opaque) erase_below("/");
    if (auto placed = place("/", {layer, top}); !placed) return placed;
  }
  auto deleted = walk(
      tree,
      [&](const std::string& path, const TreeNode& node) -> Status {
        if (!node.whiteout && !node.opaque) return Done{};
        auto target = target_of(path);
        if (!target) return std::move(target).error();
        erase_below(*target);
        if (node.whiteout) {
          const auto gone = image_.find(*target);
          if (gone == image_.end()) return Done{};
          names_room_ += gone->first.size() + kPlacedBytes;
          image_.erase(gone);
        }
        return Done{};
      },
      task);
  if (!deleted) return deleted;
  return walk(
      tree,
      [&](const std::string& path, const TreeNode& node) -> Status {
        if (node.whiteout) return Done{};
        auto target = target_of(path);
        if (!target) return std::move(target).error();
        const Placed* before = at(*target);
        const bool was_directory = before != nullptr && before->node->type == FileType::directory;
        if (!node.told) {  // only names below it tell of it: a link that lies there is followed
          const bool leads_on =
              before != nullptr && (was_directory || before->node->type == FileType::symlink);
          return leads_on ? Status(Done{}) : place(*target, {layer, &node});
        }
        if (node.type != FileType::directory && was_directory) erase_below(*target);
        Placed placed{layer, &node};
        if (node.content == TreeNode::Content::none && node.type == FileType::regular) {
          auto of = resolve("/" + node.link, false);
          const Placed* first = of ? at(*of) : nullptr;
          if (first != nullptr && first->node->type != FileType::directory) placed = *first;
        }
        return place(*target, placed);
      },
      task);
}

Result<ImageTree::Found> ImageTree::find(const FileKey& key) const {
  if (key.layer == "upper")
    return Error{Errc::unsupported, "layer upper: an image has none: what a container changed is not in it"};
  if (key.layer == "merged" || key.layer == "image") {
    auto path = resolve(key.path, key.follow);
    if (!path) return std::move(path).error();
    const Placed* placed = at(*path);
    if (placed == nullptr)
      return Error{Errc::not_found, key.path + (lossy_ ? ": not found in what could be read of the image"
                                                       : ": not in the image")};
    return Found{*std::move(path), placed->layer, placed->node};
  }
  const auto number = parse_number<std::uint32_t>(key.layer);
  if (!number || *number == 0 || *number > trees_.size())
    return Error{Errc::not_found, "layer " + key.layer + ": the image has " + std::to_string(trees_.size())};
  if (trees_[*number - 1] == nullptr)
    return Error{Errc::not_found, "layer " + key.layer + ": could not be read"};
  const std::string path = "/" + plain_member_name(key.path).value_or("");
  const TreeNode* node = trees_[*number - 1]->find(path);
  if (node == nullptr) return Error{Errc::not_found, path + ": not in layer " + key.layer};
  return Found{path, *number, node};
}

Status ImageTree::each_child(const FileKey& key, const Found& directory,
                             const std::function<Status(Found&& found)>& take) const {
  if (key.layer != "merged" && key.layer != "image") {
    return trees_[directory.layer - 1]->each_child(
        directory.path, [&](const std::string& name, const TreeNode& node) {
          return take({child_of(directory.path, name), directory.layer, &node});
        });
  }
  const std::string prefix = directory.path == "/" ? "/" : directory.path + "/";
  for (auto each = image_.upper_bound(prefix); each != image_.end() && each->first.starts_with(prefix);) {
    const auto slash = each->first.find('/', prefix.size());
    if (slash != std::string::npos) {
      each = image_.lower_bound(each->first.substr(0, slash) + static_cast<char>('/' + 1));
      continue;
    }
    if (auto taken = take({each->first, each->second.layer, each->second.node}); !taken) return taken;
    ++each;
  }
  return Done{};
}

Result<std::unique_ptr<ByteSource>> ImageTree::open(const Found& found, const Task& task) {
  return trees_[found.layer - 1]->open(found.path, *found.node, task);
}

FileEntry ImageTree::entry_of(const std::string& container, const Found& found) {
  const TreeNode& node = *found.node;
  FileEntry entry;
  entry.container = container;
  entry.path = Bytes(found.path);
  entry.layer = found.layer;
  entry.file.type = node.type;
  entry.file.mode = node.mode;
  entry.file.uid = node.uid;
  entry.file.gid = node.gid;
  entry.file.size_bytes = node.size_bytes;
  entry.file.allocated_bytes = node.stored_bytes;
  entry.file.mtime = node.mtime;
  if (node.type == FileType::symlink) entry.file.link_target = Bytes(node.link);
  if (node.whiteout) entry.gone = "whiteout";
  if (node.opaque) entry.gone = "opaque";
  return entry;
}

}  // namespace ctriage::source
