#pragma once
// A tree of files on its way into the bundle: its bytes as one layer, and beside it a record of each file.
#include <functional>
#include <string>
#include <string_view>

#include "lib/archive/layer_writer.h"
#include "lib/collect/collection.h"
#include "lib/overlay/overlay.h"

namespace ctriage::collect {

// Bytes to the layer; what becomes of a change is for who derives.
class ToLayer : public overlay::Visitor {
 public:
  explicit ToLayer(archive::LayerWriter& layer) : layer_(layer) {}
  Status begin(const FileChange& change, std::span<const archive::DataRun> runs) override {
    return layer_.begin(change, runs);
  }
  Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
              const std::shared_ptr<LateSha256>& hash) override {
    return layer_.data(offset_bytes, bytes, hash);
  }
  Status end() override { return layer_.end(); }

 private:
  archive::LayerWriter& layer_;
};

struct LayerPaths {
  std::string layer;    // "containers/app/upper.tar.zst"
  std::string records;  // "containers/app/changes.jsonl"
  std::string source;   // where both are from, for the manifest
};
using WalkTree = std::function<Status(archive::LayerWriter& layer, bundle::Stream& records)>;
// True when both are whole; false when the walk ended early, which is a gap. An error only when the run must
// end.
Result<bool> take_layer(Collection& in, const LayerPaths& paths, std::string_view artifact,
                        const WalkTree& walk);

}  // namespace ctriage::collect
