#include "lib/image/verify.h"

#include <algorithm>

#include "lib/core/hash.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/image/layer_check.h"
#include "lib/image/listing.h"
#include "lib/image/tar_split.h"
#include "lib/runtime/image_layers.h"

namespace ctriage::image {
namespace {

constexpr std::string_view kSha256 = "sha256:";

// A decompressor with what it reads from.
class PlainSource final : public ByteSource {
 public:
  static Result<std::unique_ptr<ByteSource>> open(std::unique_ptr<archive::BytesAt> file, const Task& task) {
    auto source = std::unique_ptr<PlainSource>(new PlainSource(std::move(file)));
    std::array<std::byte, 8> first{};
    auto got = source->file_->read_at(0, first);
    if (!got) return std::move(got).error();
    const auto compression = archive::find_compression(std::span(first).first(*got));
    if (compression != archive::Compression::none) {
      auto plain = archive::decompress(*source->file_, compression, task);
      if (!plain) return std::move(plain).error();
      source->plain_ = *std::move(plain);
    }
    source->in_ = archive::in_order(source->plain_ ? *source->plain_ : *source->file_, task);
    return std::unique_ptr<ByteSource>(std::move(source));
  }
  Result<std::size_t> read(std::span<std::byte> into) override { return in_->read(into); }

 private:
  explicit PlainSource(std::unique_ptr<archive::BytesAt> file) : file_(std::move(file)) {}
  std::unique_ptr<archive::BytesAt> file_;
  std::unique_ptr<archive::BytesAt> plain_;  // null: it is plain itself
  std::unique_ptr<ByteSource> in_;
};

std::string hex_of(const std::string& digest) {
  return digest.starts_with(kSha256) ? digest.substr(kSha256.size()) : digest;
}

class Verifier {
 public:
  Verifier(Snapshot& snapshot, const Container& container, const Root& node, Task& task)
      : snapshot_(snapshot), container_(container), node_(node), task_(task) {}
  Result<ImageVerifyResult> verify();

 private:
  Result<StoredLayer> find_stored(const Layer& layer, std::size_t index);
  Result<StoredLayer> find_in_storage(const Layer& layer);
  void check(const Layer& layer, std::size_t index, LayerCheck& into);
  Result<std::string> compare(const StoredLayer& stored, const Layer& layer, LayerCheck& into);

  Snapshot& snapshot_;
  const Container& container_;
  const Root& node_;
  Task& task_;
  std::vector<std::string> diff_ids_;
  Result<std::vector<std::string>> blobs_ = Error{Errc::not_found, "not looked for"};
};

// containers/storage: <graph root>/overlay/<id>/diff, or l/NAME that leads there.
Result<StoredLayer> Verifier::find_in_storage(const Layer& layer) {
  std::string path = layer.path.raw;
  if (name_of(parent_of(path)) == "l") {
    auto target = node_.read_link_beneath(std::string_view(path).substr(1));
    if (!target) return std::move(target).error();
    path = *target;
  }
  const std::string id(name_of(parent_of(path)));
  Digest valid{};
  if (!parse_digest(id, valid)) return Error{Errc::unsupported, layer.path.raw + ": not a layer's directory"};
  return StoredLayer{StoredLayer::Form::tar_split,
                     container_.engine_root.raw + "/overlay-layers/" + id + ".tar-split.gz"};
}

Result<StoredLayer> Verifier::find_stored(const Layer& layer, std::size_t index) {
  if (container_.engine_root.empty())
    return Error{Errc::not_found, "where its engine keeps its files is not known"};
  if (container_.engine == "docker") {
    return StoredLayer{StoredLayer::Form::tar_split,
                       container_.engine_root.raw + "/image/overlay2/layerdb/sha256/" +
                           hex_of(chain_id(diff_ids_, index + 1)) + "/tar-split.json.gz"};
  }
  if (container_.engine != "containerd") return find_in_storage(layer);
  if (!blobs_) return blobs_.error();
  if (index >= blobs_->size()) return Error{Errc::mismatch, "the image's manifest has fewer layers"};
  return StoredLayer{StoredLayer::Form::blob, container_.engine_root.raw +
                                                  "/io.containerd.content.v1.content/blobs/sha256/" +
                                                  hex_of((*blobs_)[index])};
}

Result<std::string> Verifier::compare(const StoredLayer& stored, const Layer& layer, LayerCheck& into) {
  auto kept = open_plain(node_, stored.path, task_);
  if (!kept) return std::move(kept).error();
  ContainerFiles directory(snapshot_, container_.id, layer.number);
  ContainerFiles merged(snapshot_, container_.id);
  const LayerPlace place{directory, merged, !container_.engine_namespace.view().starts_with("uid ")};
  if (stored.form == StoredLayer::Form::blob) return compare_layer(**kept, place, true, into, task_);
  RebuiltTar rebuilt(
      **kept,
      [&](const std::string& name) -> Result<std::unique_ptr<ByteSource>> {
        std::string_view plain = name;
        while (plain.starts_with('/') || plain.starts_with("./"))
          plain.remove_prefix(plain[0] == '/' ? 1 : 2);
        auto file = directory.open("/" + std::string(plain), task_);
        if (!file) return std::move(file).error();
        if (!file->bytes) return Error{Errc::not_found, name + ": not a regular file"};
        return std::move(file->bytes);
      },
      [&](const std::string& name, std::string_view how) {
        if (how == "content")
          add_difference(into, "/" + name, "content");  // the rest is told by the comparison
      });
  return compare_layer(rebuilt, place, false, into, task_);
}

void Verifier::check(const Layer& layer, std::size_t index, LayerCheck& into) {
  if (!layer.digest) {
    into.why = container_.engine == "docker" && index >= diff_ids_.size()
                   ? "Docker's own: it lays it over the image for what it mounts"
                   : "its diff id is not known";
    return;
  }
  auto stored = find_stored(layer, index);
  auto digest = stored ? compare(*stored, layer, into) : Result<std::string>(std::move(stored).error());
  if (!digest) {  // what was compared until then counts
    into.verdict = into.differences.empty() ? LayerVerdict::not_verifiable : LayerVerdict::differs;
    into.why = std::move(digest).error().what;
    return;
  }
  const bool rebuilt = stored->form == StoredLayer::Form::tar_split;
  const bool same_tar = *digest == *layer.digest;
  if (same_tar) into.by = rebuilt ? "digest" : "entries";
  if (!same_tar && rebuilt && into.differences.empty())
    into.why = "the tar made of the directory again has SHA-256 " + hex_of(*digest);
  if (!same_tar && !rebuilt) {
    into.why = "the stored blob is not the layer: unpacked it has SHA-256 " + hex_of(*digest);
  }
  into.verdict = same_tar && into.differences.empty() ? LayerVerdict::verified : LayerVerdict::differs;
}

Result<ImageVerifyResult> Verifier::verify() {
  ImageVerifyResult result;
  result.container = container_.id;
  result.name = container_.image;
  std::vector<Layer> layers;
  auto listed = snapshot_.list_layers(
      container_.id,
      [&](Layer&& layer) -> Status {
        if (!layer.upper) layers.push_back(std::move(layer));
        return Done{};
      },
      task_);
  if (!listed) return std::move(listed).error();
  if (layers.empty()) return Error{Errc::unsupported, "this source has no layers of an image"};
  if (std::ranges::none_of(layers, [](const Layer& layer) { return layer.digest.has_value(); })) {
    auto named = runtime::find_image_layers(node_, container_);
    if (named && named->size() <= layers.size())
      for (std::size_t i = 0; i < named->size(); ++i) layers[i].digest = (*named)[i].digest;
    else if (!named)
      task_.gaps.add({Impact::degraded, "image.layer", container_.id, std::move(named).error()});
  }
  for (const Layer& layer : layers)
    if (layer.digest) diff_ids_.push_back(*layer.digest);
  if (container_.engine == "containerd") blobs_ = runtime::find_layer_blobs(node_, container_);
  bool all = true;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerCheck one;
    one.number = layers[i].number;
    one.path = layers[i].path;
    one.digest = layers[i].digest;
    check(layers[i], i, one);
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
    all = all && (one.verdict != LayerVerdict::not_verifiable || !one.digest);
    result.layers.push_back(std::move(one));
  }
  if (all && !diff_ids_.empty()) return result;
  ContainerFiles files(snapshot_, container_.id);
  auto packages = Packages::read(files, task_);
  if (!packages) return std::move(packages).error();
  auto checked = check_packages(files, *packages, task_);
  if (!checked) return std::move(checked).error();
  result.packages = *std::move(checked);
  return result;
}

}  // namespace

std::string chain_id(const std::vector<std::string>& diff_ids, std::size_t count) {
  std::string chain;
  for (std::size_t i = 0; i < count && i < diff_ids.size(); ++i)
    chain = i == 0 ? diff_ids[0] : std::string(kSha256) + sha256_hex(chain + " " + diff_ids[i]);
  return chain;
}

Result<std::unique_ptr<ByteSource>> open_plain(const Root& node, const std::string& path, const Task& task) {
  auto file = node.open_in_root(path);
  if (!file) return std::move(file).error();
  auto bytes = archive::bytes_of_file(*std::move(file), path);
  if (!bytes) return std::move(bytes).error();
  return PlainSource::open(*std::move(bytes), task);
}

Result<ImageVerifyResult> verify(Snapshot& snapshot, const Container& container, const Root& node,
                                 Task& task) {
  return Verifier(snapshot, container, node, task).verify();
}

}  // namespace ctriage::image
