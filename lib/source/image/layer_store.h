#pragma once
// One layer of an image in an archive as a store with a single tar. A compressed one is unpacked in passes by
// one decompressor; what the package databases and the loader are made of stays in memory as it passes.
#include <memory>
#include <string>

#include "lib/source/checkpoint/kept_bytes.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

constexpr std::string_view kLayerTar = "layer.tar";
constexpr std::size_t kMaxKeptOfImage = 16 << 20;  // of all compressed layers of one image

class LayerStore final : public CheckpointStore {
 public:
  // `archive`, `room`, which is what may still be kept, and `task` stay with the caller.
  static Result<std::unique_ptr<LayerStore>> open(CheckpointStore& archive, const std::string& file,
                                                  std::size_t& room, const Task& task);

  [[nodiscard]] std::string form() const override { return "layer"; }
  [[nodiscard]] bool is_in_order() const override { return keeping_ != nullptr; }
  Result<std::unique_ptr<archive::BytesAt>> bytes_of(std::string_view name) override;
  Status list_tar(std::string_view name, const Emit<archive::TarMember>& emit, const Task& task) override;

 private:
  LayerStore(std::string name, std::size_t& room) : CheckpointStore(std::move(name)), room_(room) {}
  [[nodiscard]] archive::BytesAt& tar() const { return keeping_ ? *keeping_ : *plain_; }

  std::size_t& room_;
  std::unique_ptr<archive::BytesAt> plain_;
  std::unique_ptr<KeepingBytes> keeping_;
};

}  // namespace ctriage::source
