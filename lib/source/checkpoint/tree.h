#pragma once
// A tar in a checkpoint as a tree of files: the changed files of the container, a tmpfs, a volume. What the
// archive says twice counts as it says it last, as for who unpacks it; directories that only the names of
// others tell of are there.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "lib/archive/tar_index.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/file.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

// Names and links of all trees of one container that are kept.
constexpr std::size_t kMaxTreeBytes = 16 << 20;

// What a member of a layer means: image-spec layer.md, "Whiteouts".
struct LayerName {
  enum class Kind : std::uint8_t { file, whiteout, opaque } kind = Kind::file;
  std::string path;  // "/" and what lies there, is deleted, or hides what the image has below
};
// `name` as plain_member_name() gives it; Podman's and CRI-O's tar has no whiteouts. A whiteout is an empty
// regular file: one with bytes, or of another type, is a file that is only called so.
LayerName read_layer_name(const std::string& name, const archive::TarMember& member, bool has_whiteouts);
FileType type_of(const archive::TarMember& member);

struct TreeNode {
  enum class Content : std::uint8_t { none, stored, sparse };
  FileType type = FileType::directory;
  Content content = Content::none;
  bool told = false;  // else a directory that only names below it tell of
  bool whiteout = false;
  bool opaque = false;
  bool has_files = false;  // below it, once settled
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::uint32_t before = 0;  // members of the same name before this one
  std::uint64_t offset = 0;  // of the content, in the unpacked tar
  std::uint64_t stored_bytes = 0, size_bytes = 0;
  Timestamp mtime;
  std::string link;    // of a symbolic link; of a hard link what it is one of
  std::string stored;  // of a sparse file: its name in the tar, where that is another
};

class CheckpointTree {
 public:
  CheckpointTree(CheckpointStore& store, std::string tar, bool has_whiteouts)
      : store_(store), tar_(std::move(tar)), has_whiteouts_(has_whiteouts) {}

  // `room` is what is left for names. What cannot be read is a gap, and whole() is false; an error only when
  // it is time to end.
  Status load(std::size_t& room, Task& task);
  // A name of deleted.files; settle() when all are told.
  void add_deleted(const std::string& path, std::size_t& room);
  void settle();
  [[nodiscard]] bool whole() const { return whole_; }
  [[nodiscard]] const TreeNode* find(std::string_view path) const;
  // Names right in a directory, in order.
  Status each_child(const std::string& directory,
                    const std::function<Status(const std::string& name, const TreeNode& node)>& take) const;
  // Of a regular file. The tree must outlive what it gives.
  Result<std::unique_ptr<ByteSource>> open(const std::string& path, const TreeNode& node, const Task& task);
  [[nodiscard]] const std::string& tar() const { return tar_; }
  [[nodiscard]] std::string origin() const { return store_.name() + "!" + tar_; }

 private:
  Status add(archive::TarMember&& member, std::size_t& room, Task& task);
  // The image's file by that name is gone, or what it had in that directory.
  static void delete_below(TreeNode& node);
  // The node of a path, made where there is none, and the directories above it. Null: no room.
  TreeNode* make(const std::string& path, std::size_t& room);

  CheckpointStore& store_;
  std::string tar_;
  bool has_whiteouts_;
  bool whole_ = true;
  std::map<std::string, TreeNode, std::less<>> nodes_;  // by "/path"
};

}  // namespace ctriage::source
