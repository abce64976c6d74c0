#pragma once
// The files of a container as they are seen in it: all layers laid over each other, without a mount; or one
// layer alone, as it lies on the disk.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {

struct LowerHit;  // lower_view.h

class View {
 public:
  // The root directory as the container's processes have it, mounts inside it left out.
  static Result<View> merged(const Stack& stack);
  // The image alone: the lower layers laid over each other, what the container changed left out.
  static Result<View> image(const Stack& stack);
  // `number` as Layer::number, 1 the image's lowest. Whiteouts and overlay's xattrs are shown as the files
  // and xattrs that they are. Errc::not_found for a number that there is not, unsupported where it is not
  // open.
  static Result<View> layer(const Stack& stack, std::uint32_t number);

  struct Found {
    std::string path;  // links on the way followed: "/usr/bin/sh" of "/bin/sh"
    FileInfo info;
    FileState file;
    std::uint32_t layer = 0;  // that `info` is of
    UniqueFd pin;
    UniqueFd data;  // of a metacopy file: the inode that has its bytes
    bool metacopy = false;
  };
  // Links are followed inside the view, 40 at most, path_resolution(7); the last component's only when
  // `follow`. Errc::not_found, outside (too many links or names), unsupported (cannot be known).
  // `reached`: the path that was looked at last, links on the way followed, also where it is not there.
  [[nodiscard]] Result<Found> find(std::string_view path, bool follow, std::string& reached,
                                   const Task& task) const;
  // The names in a directory that find() found, in order, each looked up. What one name cannot tell is passed
  // to `failed`.
  using Each = std::function<Status(const std::string& name, Found&& found)>;
  using Failed = std::function<void(const std::string& name, Error&& why)>;
  Status list(const std::string& directory, const Each& each, const Failed& failed, const Task& task) const;
  // A regular file that was found, for reading.
  [[nodiscard]] Result<UniqueFd> open(const Found& found) const;

 private:
  View() = default;
  [[nodiscard]] LowerLayers lower_layers() const;
  [[nodiscard]] Result<Found> from(LowerHit&& hit, std::string path) const;
  [[nodiscard]] Result<Found> look(const std::string& path) const;
  [[nodiscard]] Result<Found> look_alone(const Root& directory, std::string_view name,
                                         std::string path) const;

  std::vector<std::optional<Root>> layers_;  // from the top
  std::vector<std::optional<Root>> data_only_;
  std::string_view prefix_;
  std::vector<Owners> owners_;  // of layers_
  std::optional<Error> unreadable_;
  std::uint32_t alone_ = 0;  // the number of the only layer; 0: merged
};

}  // namespace ctriage::overlay
