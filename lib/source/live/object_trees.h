#pragma once
// Trees of a live container as objects: its UpperDir, its tmpfs. Not for other modules.
#include <string>

#include "lib/model/object.h"
#include "lib/overlay/overlay.h"

namespace ctriage::source {

class TreeObjects final : public overlay::Visitor {
 public:
  // `below`: before each path of the tree.
  TreeObjects(std::string container, ObjectKind kind, std::string below, ObjectVisitor& to)
      : container_(std::move(container)), kind_(kind), below_(std::move(below)), to_(to) {}
  Status begin(const FileChange& change, std::span<const archive::DataRun> runs) override;
  Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
              const std::shared_ptr<LateSha256>& hash) override;
  Status end() override { return Done{}; }
  Status change(FileChange&& change) override;

 private:
  [[nodiscard]] ExtractedObject object_of(const FileChange& change) const;
  std::string container_;
  ObjectKind kind_;
  std::string below_;
  ObjectVisitor& to_;
  bool open_ = false;
};

}  // namespace ctriage::source
