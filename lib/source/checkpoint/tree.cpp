#include "lib/source/checkpoint/tree.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/archive/layer_reader.h"
#include "lib/core/path.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

using archive::TarMember;

std::size_t cost_of(const std::string& path, const std::string& link) {
  constexpr std::size_t kNodeBytes = sizeof(TreeNode) + 96;  // with what a map keeps beside it
  return path.size() + link.size() + kNodeBytes;
}

bool leads_out(std::string_view name) {
  const auto parts = split(name, '/');
  return std::ranges::find(parts, "..") != parts.end();
}

}  // namespace

LayerName read_layer_name(const std::string& name, const TarMember& member, bool has_whiteouts) {
  if (type_of(member) != FileType::regular || member.real_size_bytes != 0 || member.type == '1')
    has_whiteouts = false;
  constexpr std::string_view kWhiteout = ".wh.";
  constexpr std::string_view kOpaque = ".wh..wh..opq";
  const std::string path = "/" + name;
  const std::string base = path.substr(path.rfind('/') + 1);
  if (has_whiteouts && base == kOpaque) return {LayerName::Kind::opaque, parent_of(path)};
  if (has_whiteouts && base.starts_with(kWhiteout))
    return {LayerName::Kind::whiteout, child_of(parent_of(path), base.substr(kWhiteout.size()))};
  return {LayerName::Kind::file, path};
}

FileType type_of(const TarMember& member) {
  switch (member.type) {
    case '0':
    case '1':
    case 'S':
      return FileType::regular;
    case '2':
      return FileType::symlink;
    case '3':
      return FileType::character;
    case '4':
      return FileType::block;
    case '5':
      return FileType::directory;
    case '6':
      return FileType::fifo;
    default:
      return FileType::unknown;
  }
}

TreeNode* CheckpointTree::make(const std::string& path, std::size_t& room) {
  const auto found = nodes_.find(path);
  if (found != nodes_.end()) return &found->second;
  for (std::string above = parent_of(path);; above = parent_of(above)) {
    if (nodes_.contains(above)) break;
    if (cost_of(above, {}) > room) return nullptr;
    room -= cost_of(above, {});
    nodes_[above];
    if (above == "/") break;
  }
  if (cost_of(path, {}) > room) return nullptr;
  room -= cost_of(path, {});
  return &nodes_[path];
}

Status CheckpointTree::add(TarMember&& member, std::size_t& room, Task& task) {
  const Error full{Errc::limit, "names take over " + std::to_string(kMaxTreeBytes) + " bytes"};
  const auto plain = plain_member_name(member.name);
  if (!plain && (member.type != '5' || leads_out(member.name))) {
    task.gaps.add({Impact::lost, "checkpoint.files", origin() + "!" + member.name,
                   Error{Errc::outside, "a name that leads out of the archive: not looked at"}});
    return Done{};
  }
  const LayerName name = plain ? read_layer_name(*plain, member, has_whiteouts_) : LayerName{{}, "/"};
  TreeNode* node = make(name.path, room);
  if (node == nullptr) return full;
  if (name.kind == LayerName::Kind::opaque) {
    node->opaque = true;
    return Done{};
  }
  if (name.kind == LayerName::Kind::whiteout) {  // of what lies below; what lies here stands for itself
    delete_below(*node);
    return Done{};
  }
  if (node->told && (node->type != FileType::directory || member.type != '5')) {
    task.gaps.add({Impact::degraded, "checkpoint.files", origin() + "!" + member.name,
                   Error{Errc::mismatch, "is in the archive more than once: the last is taken"}});
  }
  if (member.link.size() > room) return full;
  room -= member.link.size();
  TreeNode made;
  made.type = type_of(member);
  made.told = true;
  made.opaque = node->opaque || (node->whiteout && made.type == FileType::directory);
  made.before = node->told ? node->before + 1 : 0;
  made.mode = member.mode & 07777U;
  made.uid = member.uid;
  made.gid = member.gid;
  made.mtime = member.mtime;
  made.offset = member.offset;
  made.stored_bytes = member.size_bytes;
  made.size_bytes = member.real_size_bytes;
  if (made.type == FileType::regular)
    made.content = member.sparse ? TreeNode::Content::sparse : TreeNode::Content::stored;
  if (member.type == '2') made.link = std::move(member.link);
  if (member.type == '1') {
    const auto of = plain_member_name(member.link);
    const TreeNode* first = of ? find("/" + *of) : nullptr;
    const bool there = first != nullptr && first->told && first->type != FileType::directory;
    if (there) {
      made.type = first->type;
      made.content = first->content;
      made.offset = first->offset;
      made.stored_bytes = first->stored_bytes;
      made.size_bytes = first->size_bytes;
      made.stored = first->stored;
      made.before = first->before;
      if (first->type == FileType::symlink) made.link = first->link;
    } else {
      made.content = TreeNode::Content::none;
      made.link = std::move(member.link);
    }
  } else if (made.content == TreeNode::Content::sparse) {
    made.stored = *plain;
  }
  *node = std::move(made);
  return Done{};
}

Status CheckpointTree::load(std::size_t& room, Task& task) {
  const Emit<TarMember> one = [&](TarMember&& member) { return add(std::move(member), room, task); };
  const auto listed = store_.list_tar(tar_, one, task);
  settle();
  if (listed) return Done{};
  if (auto go_on = task.check(); !go_on) return go_on;
  whole_ = false;
  task.gaps.add({Impact::lost, "checkpoint.files", origin(), listed.error()});
  return Done{};
}

void CheckpointTree::add_deleted(const std::string& path, std::size_t& room) {
  const auto plain = plain_member_name(path);
  TreeNode* node = plain ? make("/" + *plain, room) : nullptr;
  if (node == nullptr) {
    whole_ = false;
  } else {
    delete_below(*node);
  }
}

void CheckpointTree::delete_below(TreeNode& node) {
  if (!node.told) node.whiteout = true;
  if (node.told && node.type == FileType::directory) node.opaque = true;
}

// A directory that was deleted and has files is one that was made anew.
void CheckpointTree::settle() {
  for (auto& [path, node] : nodes_) {
    if (node.whiteout || (!node.told && !node.opaque)) continue;
    for (std::string above = parent_of(path);; above = parent_of(above)) {
      TreeNode& directory = nodes_[above];
      if (std::exchange(directory.has_files, true)) break;  // and those above it
      if (above == "/") break;
    }
  }
  for (auto& [path, node] : nodes_) {
    if (!node.whiteout || !node.has_files) continue;
    node.whiteout = false;
    node.opaque = true;
  }
}

const TreeNode* CheckpointTree::find(std::string_view path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : &found->second;
}

Status CheckpointTree::each_child(
    const std::string& directory,
    const std::function<Status(const std::string& name, const TreeNode& node)>& take) const {
  const std::string prefix = directory == "/" ? directory : directory + "/";
  for (auto at = nodes_.upper_bound(prefix); at != nodes_.end() && at->first.starts_with(prefix);) {
    const auto slash = at->first.find('/', prefix.size());
    if (slash != std::string::npos) {  // deeper: the name above it has a node of its own
      at = nodes_.lower_bound(at->first.substr(0, slash) + static_cast<char>('/' + 1));
      continue;
    }
    if (auto taken = take(at->first.substr(prefix.size()), at->second); !taken) return taken;
    ++at;
  }
  return Done{};
}

Result<std::unique_ptr<ByteSource>> CheckpointTree::open(const std::string& path, const TreeNode& node,
                                                         const Task& task) {
  if (node.content == TreeNode::Content::none)
    return Error{Errc::not_found, path + ": its bytes are not in " + origin() +
                                      (node.link.empty() ? "" : ": a hard link to " + node.link)};
  auto bytes = store_.open_tar_bytes(tar_, task);
  if (!bytes) return std::move(bytes).error();
  if (node.content == TreeNode::Content::stored)
    return archive::in_order(*std::move(bytes), node.offset, node.size_bytes, task);
  auto tar = archive::in_order(*std::move(bytes), 0, std::numeric_limits<std::uint64_t>::max(), task);
  auto layer = archive::LayerReader::open(*tar);
  if (!layer) return std::move(layer).error().within(origin());
  archive::LayerReader::Entry entry;
  for (std::uint32_t before = 0;;) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    auto more = (*layer)->next(entry);
    if (!more) return std::move(more).error().within(origin());
    if (!*more) return Error{Errc::not_found, path + ": its bytes are not in " + origin()};
    if (plain_member_name(entry.path) != node.stored) continue;
    if (before++ == node.before) break;
  }
  return archive::entry_of(std::move(tar), *std::move(layer));
}

}  // namespace ctriage::source
