#pragma once
// The files of an image, its layers laid over each other: of a container on this node, or of an archive.
#include <string>

#include "lib/core/result.h"
#include "lib/core/task.h"
#include "lib/model/snapshot.h"

namespace ctriage::image {

class Files {
 public:
  virtual ~Files() = default;
  // Paths are absolute. Links are followed inside the image. Errc::not_found, else why it cannot be known.
  virtual Result<OpenedFile> open(const std::string& path, Task& task) = 0;
  // The names in a directory; links are told as such.
  virtual Status list(const std::string& directory, const Emit<FileEntry>& emit, Task& task) = 0;
};

// The image that `container` of `snapshot`, which stays with the caller, was made from; or one layer of it,
// by its number: links are not followed there. Errc::unsupported from open and list where the source has no
// layers of the image.
class ContainerFiles final : public Files {
 public:
  ContainerFiles(Snapshot& snapshot, std::string container)
      : snapshot_(snapshot), container_(std::move(container)), layer_("image"), follow_(true) {}
  ContainerFiles(Snapshot& snapshot, std::string container, std::uint32_t layer)
      : snapshot_(snapshot),
        container_(std::move(container)),
        layer_(std::to_string(layer)),
        follow_(false) {}
  Result<OpenedFile> open(const std::string& path, Task& task) override {
    return snapshot_.open_file({container_, layer_, path, follow_}, task);
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task& task) override {
    return snapshot_.list_files({container_, layer_, directory, follow_}, emit, task);
  }

 private:
  Snapshot& snapshot_;
  std::string container_;
  std::string layer_;
  bool follow_;
};

// A whole text file of at most `most` bytes.
Result<std::string> read_text(Files& files, const std::string& path, std::size_t most, Task& task);
// The last name of a path.
std::string_view name_of(std::string_view path);

}  // namespace ctriage::image
