#pragma once
// A plain tree (tmpfs, volume) on its way into the bundle: tree_file records beside the layer.
#include <string>

#include "lib/collect/layer.h"
#include "lib/model/tree.h"

namespace ctriage::collect {

class TakeTree : public ToLayer {
 public:
  // `mount`: what the tree's top is called in the container.
  TakeTree(Collection& in, std::string mount, archive::LayerWriter& layer, bundle::Stream& files)
      : ToLayer(layer), in_(in), mount_(std::move(mount)), files_(files) {}
  Status change(FileChange&& change) override;

 protected:
  [[nodiscard]] const std::string& mount() const { return mount_; }

 private:
  Collection& in_;
  const std::string mount_;
  bundle::Stream& files_;
};

// "tmpfs/dev%2Fshm".
std::string stem_of(std::string_view folder, std::string_view mountpoint);

}  // namespace ctriage::collect
