#include "lib/source/image/source.h"

#include <algorithm>

#include "lib/core/hash.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::string_view kNoProcesses = "an image has no processes";

// CRI-O and Podman push a checkpoint as an image of one layer, which not every tool annotates.
bool is_checkpoint(CheckpointStore& store, const StoredImage& image, const Task& task) {
  constexpr std::size_t kFirstMembers = 64;
  if (image.layers.size() != 1) return false;
  std::size_t seen = 0;
  bool found = false;
  (void)store.walk_tar(
      image.layers.front().file,
      [&](const archive::TarMember& member, archive::BytesAt&) -> Status {
        const auto name = plain_member_name(member.name);
        found = name && (*name == "config.dump" || *name == "spec.dump" || name->ends_with("/inventory.img"));
        if (found || ++seen >= kFirstMembers) return Error{Errc::stopped, "seen enough"};
        return Done{};
      },
      task);
  return found;
}

}  // namespace

Result<bool> has_images(CheckpointStore& store, Task& task) {
  auto images = find_images(store, task);
  if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
  if (!images) return images.error();
  return !images->empty() && std::ranges::none_of(*images, [&](const StoredImage& image) {
    return is_checkpoint(store, image, task);
  });
}

Result<std::unique_ptr<ImageSnapshot>> ImageSnapshot::open(std::unique_ptr<CheckpointStore> store,
                                                           Task& task) {
  std::unique_ptr<ImageSnapshot> snapshot(new ImageSnapshot(std::move(store), task));
  auto images = find_images(*snapshot->store_, task);
  if (!images) return std::move(images).error();
  snapshot->images_ = *std::move(images);
  return snapshot;
}

Coverage ImageSnapshot::covers(Facet facet) const {
  if (facet == Facet::containers) return {Coverage::Level::whole, {}};
  if (facet == Facet::layers)
    return {Coverage::Level::part,
            "their digests are those of the configuration: ctriage image verify reads the layers"};
  if (facet == Facet::changes) return {Coverage::Level::none, "an image has no changes: nothing ran in it"};
  if (facet == Facet::findings) return {Coverage::Level::none, "nothing ran in an image"};
  return {Coverage::Level::none, std::string(kNoProcesses)};
}

Result<Source> ImageSnapshot::describe(Task&) {
  Source source;
  source.kind = "image";
  source.target = Bytes(store_->name());
  if (images_.size() == 1) source.taken_at = images_.front().config.container.created_at;
  return source;
}

Status ImageSnapshot::list_containers(const Emit<Container>& emit, Task&) {
  for (const StoredImage& image : images_)
    if (auto status = emit(Container(image.config.container)); !status) return status;
  return Done{};
}

Result<const StoredImage*> ImageSnapshot::find(const std::string& container) const {
  const auto found =
      std::ranges::find(images_, container, [](const StoredImage& each) { return each.config.container.id; });
  if (found == images_.end())
    return Error{Errc::not_found, container + ": no such image in " + store_->name()};
  return &*found;
}

Status ImageSnapshot::list_layers(const std::string& container, const Emit<Layer>& emit, Task&) {
  auto image = find(container);
  if (!image) return std::move(image).error();
  for (std::size_t i = 0; i < (*image)->layers.size(); ++i) {
    Layer layer;
    layer.container = container;
    layer.number = static_cast<std::uint32_t>(i + 1);
    layer.path = Bytes((*image)->layers[i].file);
    layer.readable = store_->find((*image)->layers[i].file) != nullptr;
    const runtime::ImageLayer& told = (*image)->config.layers[i];
    if (!told.digest.empty()) layer.digest = told.digest;
    layer.made_by = told.made_by;
    if (auto status = emit(std::move(layer)); !status) return status;
  }
  return Done{};
}

Result<ImageTree*> ImageSnapshot::tree_of(const std::string& container, Task& task) {
  auto& tree = trees_[container];
  if (tree) return tree.get();
  auto image = find(container);
  if (!image) return std::move(image).error();
  auto loaded = ImageTree::load(*store_, **image, task_, task);
  if (!loaded) return std::move(loaded).error();
  tree = *std::move(loaded);
  return tree.get();
}

Status ImageSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  auto tree = tree_of(key.container, task);
  if (!tree) return std::move(tree).error();
  auto found = (*tree)->find(key);
  if (!found) return std::move(found).error();
  if (found->node->type != FileType::directory || found->node->whiteout)
    return emit(ImageTree::entry_of(key.container, *found));
  return (*tree)->each_child(
      key, *found, [&](ImageTree::Found&& child) { return emit(ImageTree::entry_of(key.container, child)); });
}

Result<OpenedFile> ImageSnapshot::open_file(const FileKey& key, Task& task) {
  auto tree = tree_of(key.container, task);
  if (!tree) return std::move(tree).error();
  auto found = (*tree)->find(key);
  if (!found) return std::move(found).error();
  OpenedFile opened{ImageTree::entry_of(key.container, *found), nullptr};
  if (found->node->type != FileType::regular) return opened;
  auto bytes = (*tree)->open(*found, task);
  if (!bytes) return std::move(bytes).error();
  opened.bytes = *std::move(bytes);
  return opened;
}

Status ImageSnapshot::visit_memory(const MemoryQuery&, MemoryVisitor&, Task&) {
  return Error{Errc::unsupported, std::string(kNoProcesses) + ", so it has no memory"};
}

LayerCheck ImageSnapshot::check(const StoredImage& image, std::size_t index, Task& task) {
  const ImageBlob& blob = image.layers[index];
  LayerCheck made;
  made.number = static_cast<std::uint32_t>(index + 1);
  made.path = Bytes(blob.file);
  const std::string& diff_id = image.config.layers[index].digest;
  if (!diff_id.empty()) made.digest = diff_id;
  const auto stored = digest_of(*store_, blob.file, task);
  if (!stored) {
    made.why = stored.error().what;
    return made;
  }
  const bool fits = blob.digest.empty() || blob.digest == *stored;
  if (!fits) made.why = "the blob's SHA-256 is " + *stored + ", the manifest has " + blob.digest;
  Sha256 hash;
  auto tar = store_->open_tar_bytes(blob.file, task);
  std::vector<std::byte> block(kBlockBytes);
  for (bool more = tar.has_value(); more;) {
    auto got = (*tar)->read_at(made.bytes, block);
    if (!got) {
      tar = std::move(got).error();
      break;
    }
    hash.update(std::span(block).first(*got));
    made.bytes += *got;
    more = *got == block.size() && task.check();
  }
  const std::string unpacked = "sha256:" + to_hex(hash.digest());
  const std::string beside = made.why.empty() ? "" : "; ";
  if (!tar) made.why += beside + tar.error().what;
  if (tar && !diff_id.empty() && unpacked != diff_id)
    made.why += beside + "unpacked its SHA-256 is " + unpacked + ", the configuration has " + diff_id;
  if (fits && (!tar || diff_id.empty())) return made;  // nothing of it was found to differ
  made.by = "digest";
  made.verdict = made.why.empty() ? LayerVerdict::verified : LayerVerdict::differs;
  return made;
}

Result<ImageVerifyResult> ImageSnapshot::verify(const std::string& container, Task& task) {
  auto image = find(container);
  if (!image) return std::move(image).error();
  ImageVerifyResult result;
  result.container = container;
  result.name = (*image)->config.container.image;
  for (std::size_t i = 0; i < (*image)->layers.size(); ++i) {
    result.layers.push_back(check(**image, i, task));
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
  }
  return result;
}

void ImageSnapshot::keep(const std::set<std::string>& ids) {
  std::erase_if(images_, [&](const StoredImage& image) { return !ids.contains(image.config.container.id); });
}

}  // namespace ctriage::source
