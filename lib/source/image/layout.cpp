#include "lib/source/image/layout.h"

#include <algorithm>
#include <set>

#include "lib/core/hash.h"
#include "lib/core/path.h"
#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxIndexDepth = 3;
constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::string_view kSha256 = "sha256:";
constexpr std::string_view kBlobs = "blobs/sha256/";

std::string blob_file(std::string_view digest) {
  return std::string(kBlobs) + std::string(digest.substr(kSha256.size()));
}

// "sha256:HEX" of "blobs/sha256/HEX", "HEX.json"; empty where the name is no digest.
std::string digest_in(std::string_view file) {
  std::string_view name = file.substr(file.rfind('/') + 1);
  if (name.ends_with(".json")) name.remove_suffix(5);
  Digest digest{};
  const bool named = file.starts_with(kBlobs) || file.ends_with(".json");
  return named && parse_digest(name, digest) ? std::string(kSha256) + std::string(name) : std::string();
}

// Old `docker save` makes a layer that several images have a link to where it was first.
std::string follow(const CheckpointStore& store, const std::string& typed) {
  std::string name = plain_member_name(typed).value_or(typed);
  constexpr int kMaxLinks = 8;
  for (int links = 0; links < kMaxLinks; ++links) {
    const StoredFile* file = store.find(name);
    if (file == nullptr || file->type != FileType::symlink) break;
    std::vector<std::string_view> parts;
    const std::string joined = parent_of("/" + name) + "/" + file->link;
    for (const std::string_view part : split(joined, '/')) {
      if (part == ".." && !parts.empty()) parts.pop_back();
      if (!part.empty() && part != "." && part != "..") parts.push_back(part);
    }
    std::string next;
    for (const std::string_view part : parts) next.append(next.empty() ? "" : "/").append(part);
    name = std::move(next);
  }
  return name;
}

class Finder {
 public:
  Finder(CheckpointStore& store, Task& task) : store_(store), task_(task) {}

  Status run() {
    const bool saved = store_.find("manifest.json") != nullptr;
    if (saved) {
      if (auto looked = look_at_saved(); !looked) return looked;
    }
    if (images.empty() && store_.find("oci-layout") != nullptr && store_.find("index.json") != nullptr)
      return look_at_index("index.json", {}, 0);
    return Done{};
  }

  std::vector<StoredImage> images;

 private:
  void lost(const std::string& file, Error error) {
    task_.gaps.add({Impact::lost, "image.record", store_.name() + "!" + file, std::move(error)});
  }

  // A record; its digest is looked at where it is named by one.
  std::optional<std::string> read(const std::string& file) {
    auto text = store_.read(file, runtime::kMaxImageJsonBytes);
    if (!text) {
      lost(file, std::move(text).error());
      return std::nullopt;
    }
    const std::string digest = digest_in(file);
    const std::string is = std::string(kSha256) + sha256_hex(*text);
    if (!digest.empty() && digest != is)
      lost(file, {Errc::mismatch, "its SHA-256 is " + is + ": not the bytes that it is named for"});
    return *std::move(text);
  }

  Status look_at_saved() {
    const auto text = read("manifest.json");
    if (!text) return Done{};
    auto saved = parse_saved_images(*text);
    if (!saved) {
      lost("manifest.json", std::move(saved).error());
      return Done{};
    }
    for (SavedImage& one : *saved) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      StoredImage image;
      image.names = std::move(one.names);
      for (const std::string& layer : one.layers) {
        const std::string file = follow(store_, layer);
        image.layers.push_back({file, digest_in(file)});
      }
      if (auto added = add(std::move(image), follow(store_, one.config)); !added) return added;
    }
    return Done{};
  }

  Status look_at_index(const std::string& file, const ImageDescriptor& as, std::size_t depth) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (!looked_at_.insert(file).second) return Done{};
    const auto text = read(file);
    if (!text) return Done{};
    auto index = parse_image_index(*text);
    if (!index) {
      lost(file, std::move(index).error());
      return Done{};
    }
    if (index->config) {
      const bool is_image = index->config->media_type.find("image.config") != std::string::npos ||
                            index->config->media_type.find("container.image") != std::string::npos;
      if (!is_image || index->checkpoint) return Done{};
      StoredImage image;
      if (!as.name.empty()) image.names.push_back(as.name);
      image.manifest_digest = as.digest;
      for (const ImageDescriptor& layer : index->layers)
        image.layers.push_back({blob_file(layer.digest), layer.digest});
      return add(std::move(image), blob_file(index->config->digest));
    }
    if (depth >= kMaxIndexDepth)
      return Error{Errc::limit, "an OCI index over " + std::to_string(kMaxIndexDepth) + " levels deep"};
    for (ImageDescriptor below : index->manifests) {
      if (!below.media_type.ends_with("+json")) {
        task_.gaps.add({Impact::note,
                        "image.record",
                        store_.name() + "!" + file,
                        {Errc::unsupported, "an entry of type " + below.media_type + " is no image"}});
        continue;
      }
      if (below.name.empty()) below.name = as.name;
      const std::string blob = blob_file(below.digest);
      if (store_.find(blob) == nullptr) {  // of an index, only this node's platform may be there
        task_.gaps.add({Impact::note,
                        "image.record",
                        store_.name() + "!" + blob,
                        {Errc::not_found, "in the index (" + below.platform + "), not in the archive"}});
        continue;
      }
      if (auto looked = look_at_index(blob, below, depth + 1); !looked) return looked;
    }
    return Done{};
  }

  Status add(StoredImage image, const std::string& config_file) {
    const auto text = read(config_file);
    if (!text) return Done{};
    auto config = parse_config(*text);
    if (!config) {
      lost(config_file, std::move(config).error());
      return Done{};
    }
    // An attestation that buildx puts beside an image has no file system.
    if (config->platform == "unknown/unknown") return Done{};
    image.config = *std::move(config);
    if (image.layers.size() != image.config.layers.size()) {
      lost(config_file, {Errc::mismatch, "has " + std::to_string(image.config.layers.size()) +
                                             " diff ids, the manifest has " +
                                             std::to_string(image.layers.size()) + " layers"});
      image.config.layers.resize(image.layers.size());
    }
    Container& container = image.config.container;
    container.id = sha256_hex(*text);
    container.engine = "none";
    const auto same = std::ranges::find(images, container.id,
                                        [](const StoredImage& each) { return each.config.container.id; });
    if (same != images.end()) {
      for (std::string& name : image.names) same->names.push_back(std::move(name));
      return Done{};
    }
    if (images.size() >= kMaxImages)
      return Error{Errc::limit, "over " + std::to_string(kMaxImages) + " images in one archive"};
    container.image = Bytes(image.names.empty() ? std::string() : image.names.front());
    container.image_id = Bytes(std::string(kSha256) + container.id);
    container.image_digest = Bytes(image.manifest_digest);
    container.name = container.image.empty() ? Bytes(container.id.substr(0, 12)) : container.image;
    images.push_back(std::move(image));
    return Done{};
  }

  CheckpointStore& store_;
  Task& task_;
  std::set<std::string> looked_at_;
};

}  // namespace

Result<std::vector<StoredImage>> find_images(CheckpointStore& store, Task& task) {
  Finder finder(store, task);
  if (auto run = finder.run(); !run) return std::move(run).error();
  // Several platforms of one name are told apart by them.
  for (StoredImage& image : finder.images) {
    Container& container = image.config.container;
    const auto same = std::ranges::count(finder.images, container.image.raw, [](const StoredImage& each) {
      return each.config.container.image.raw;
    });
    if (same > 1 && !container.image.empty() && !image.config.platform.empty())
      container.name = Bytes(container.image.raw + " " + image.config.platform);
  }
  return std::move(finder.images);
}

Result<std::string> digest_of(CheckpointStore& store, const std::string& file, const Task& task) {
  auto bytes = store.bytes_of(file);
  if (!bytes) return std::move(bytes).error();
  const StoredFile* stored = store.find(file);
  const std::uint64_t size = stored == nullptr ? 0 : stored->size_bytes;
  auto source = archive::in_order(*std::move(bytes), 0, size, task);
  Sha256 hash;
  std::vector<std::byte> block(kBlockBytes);
  for (;;) {
    auto got = source->read(block);
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    hash.update(std::span(block).first(*got));
  }
  if (hash.size_bytes() != size)
    return Error{Errc::truncated,
                 std::to_string(hash.size_bytes()) + " of " + std::to_string(size) + " bytes are there"};
  return std::string(kSha256) + to_hex(hash.digest());
}

}  // namespace ctriage::source
