#pragma once
// The Snapshot of images in an archive or a layout: each image is a container that was never started. It has
// a configuration, layers and files; no processes, no changes.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/model/image.h"
#include "lib/model/snapshot.h"
#include "lib/source/image/layout.h"
#include "lib/source/image/tree.h"

namespace ctriage::source {

// Whether the store has images, and none of them is a checkpoint in the form of one.
Result<bool> has_images(CheckpointStore& store, Task& task);

class ImageSnapshot final : public Snapshot {
 public:
  // `task` outlives it.
  static Result<std::unique_ptr<ImageSnapshot>> open(std::unique_ptr<CheckpointStore> store, Task& task);

  [[nodiscard]] Coverage covers(Facet facet) const override;
  Result<Source> describe(Task& task) override;
  Status list_containers(const Emit<Container>& emit, Task& task) override;
  Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) override;
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override;
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override;
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override;
  // Each layer against its digests: that of the blob and, unpacked, its diff id.
  Result<ImageVerifyResult> verify(const std::string& container, Task& task);
  // From now on it has these images alone, by id.
  void keep(const std::set<std::string>& ids);

 private:
  ImageSnapshot(std::unique_ptr<CheckpointStore> store, const Task& task)
      : store_(std::move(store)), task_(task) {}
  Result<const StoredImage*> find(const std::string& container) const;
  Result<ImageTree*> tree_of(const std::string& container, Task& task);
  LayerCheck check(const StoredImage& image, std::size_t index, Task& task);

  std::unique_ptr<CheckpointStore> store_;
  const Task& task_;
  std::vector<StoredImage> images_;
  std::map<std::string, std::unique_ptr<ImageTree>> trees_;  // made when they are asked for
};

}  // namespace ctriage::source
