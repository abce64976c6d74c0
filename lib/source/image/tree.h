#pragma once
// The files of an image in an archive: each layer as a tree, and all laid over each other in memory as an
// engine unpacks them, nothing on the disk. Names of a layer that lie below a link of a lower one go where
// that leads; hard links may be to files of lower layers.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/model/tree.h"
#include "lib/source/checkpoint/tree.h"
#include "lib/source/image/layer_store.h"
#include "lib/source/image/layout.h"

namespace ctriage::source {

constexpr std::size_t kMaxImageTreeBytes = 24 << 20;   // names of all layers
constexpr std::size_t kMaxImageNamesBytes = 16 << 20;  // names of the image
constexpr int kMaxImageLinks = 40;  // that one path leads through: the kernel's MAXSYMLINKS

class ImageTree {
 public:
  // `store` and `task`, which decompressors look at, outlive it. A layer that is not there, is damaged or
  // does not have its digest is a gap (lost). An error only when it is time to end.
  static Result<std::unique_ptr<ImageTree>> load(CheckpointStore& store, const StoredImage& image,
                                                 const Task& lasting, Task& task);

  struct Found {
    std::string path;
    std::uint32_t layer = 0;  // 1 is the lowest
    const TreeNode* node = nullptr;
  };
  // `layer`: "merged", "image" or a number. In one layer links are not followed.
  [[nodiscard]] Result<Found> find(const FileKey& key) const;
  Status each_child(const FileKey& key, const Found& directory,
                    const std::function<Status(Found&& found)>& take) const;
  Result<std::unique_ptr<ByteSource>> open(const Found& found, const Task& task);
  [[nodiscard]] static FileEntry entry_of(const std::string& container, const Found& found);

 private:
  struct Placed {
    std::uint32_t layer = 0;
    const TreeNode* node = nullptr;
  };
  using EachNode = std::function<Status(const std::string& path, const TreeNode& node)>;
  static Status walk(const CheckpointTree& tree, const EachNode& take, const Task& task);
  Status lay(std::uint32_t layer, Task& task);
  Status place(const std::string& path, Placed placed);
  void erase_below(const std::string& path);
  [[nodiscard]] Result<std::string> resolve(std::string_view path, bool follow_last) const;
  [[nodiscard]] const Placed* at(const std::string& path) const;

  std::size_t keep_room_ = kMaxKeptOfImage;
  std::size_t names_room_ = kMaxImageNamesBytes;
  std::vector<std::unique_ptr<LayerStore>> stores_;     // null: it could not be opened
  std::vector<std::unique_ptr<CheckpointTree>> trees_;  // of the layers; null as above
  bool lossy_ = false;                                  // some of a layer is not in it
  std::map<std::string, Placed, std::less<>> image_;
};

}  // namespace ctriage::source
