#include "lib/collect/layer.h"

namespace ctriage::collect {
namespace {

struct StreamSink final : ByteSink {
  explicit StreamSink(bundle::Stream& to) : stream(to) {}
  Status write(std::span<const std::byte> bytes) override { return stream.write(bytes); }
  Status write_hashed(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) override {
    return stream.write_hashed(bytes, hash);
  }
  bundle::Stream& stream;
};

}  // namespace

Result<bool> take_layer(Collection& in, const LayerPaths& paths, std::string_view artifact,
                        const WalkTree& walk) {
  auto stream = in.out.open(paths.layer, in.bulk_encoding(), paths.source);
  if (!stream) return std::move(stream).error();
  auto records = in.out.open(paths.records, bundle::Encoding::jsonl, paths.source);
  if (!records) return std::move(records).error();
  StreamSink sink(**stream);
  auto layer = archive::LayerWriter::open(sink);
  if (!layer) return std::move(layer).error();

  auto walked = walk(**layer, **records);
  if (walked) walked = (*layer)->finish();
  if (!walked) {
    auto first = in.ended_early(**stream, artifact, paths.layer, walked.error());
    auto second = (*records)->finish(bundle::Outcome::partial, walked.error().what);
    if (!first) return std::move(first).error();
    if (!second) return std::move(second).error();
    return false;
  }
  if (auto status = (*stream)->finish(bundle::Outcome::collected, ""); !status)
    return std::move(status).error();
  if (auto status = (*records)->finish(bundle::Outcome::collected, ""); !status)
    return std::move(status).error();
  return true;
}

}  // namespace ctriage::collect
