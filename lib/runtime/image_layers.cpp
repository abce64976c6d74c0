#include "lib/runtime/image_layers.h"

#include "lib/core/hash.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/runtime/bolt_file.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kSha256 = "sha256:";
constexpr std::string_view kBlobs = "/io.containerd.content.v1.content/blobs/sha256/";
constexpr int kMaxReferences = 4;  // index, manifest, configuration

// The 64 digits of "sha256:..." or of an image id.
Result<std::string> hex_of(std::string_view digest) {
  if (digest.starts_with(kSha256)) digest.remove_prefix(kSha256.size());
  Digest parsed{};
  if (!parse_digest(digest, parsed))
    return Error{Errc::malformed, "image " + std::string(digest) + ": not a SHA-256"};
  return std::string(digest);
}

// What is stored under its own digest. Other bytes there are no configuration of this image.
Result<std::string> read_named(const Root& node, const std::string& path, const std::string& hex) {
  auto text = node.read_file_in_root(path, kMaxImageJsonBytes);
  if (!text) return Error(text.error()).within(path);
  if (sha256_hex(*text) != hex)
    return Error{Errc::mismatch, path + ": its bytes do not have the SHA-256 that it is named by"};
  return text;
}

Result<std::string> docker_config(const Root& node, const Container& container) {
  const auto id = hex_of(container.image_id.raw);
  if (!id) return id.error();
  return read_named(node, container.engine_root.raw + "/image/overlay2/imagedb/content/sha256/" + *id, *id);
}

Result<std::string> storage_config(const Root& node, const Container& container) {
  const auto id = hex_of(container.image_id.raw);
  if (!id) return id.error();
  const std::string key = "=" + to_base64(std::string(kSha256) + *id);
  return read_named(node, container.engine_root.raw + "/overlay-images/" + *id + "/" + key, *id);
}

Result<std::string> image_digest(const Root& node, const std::string& root, const Container& container) {
  if (!container.image_digest.empty()) return container.image_digest.raw;
  const std::string file = root + "/io.containerd.metadata.v1.bolt/meta.db";
  std::string digest;
  const Status read = read_bolt(node, file, [&](Bolt& bolt) -> Status {
    const std::string& space = container.engine_namespace.raw;
    const auto record = descend(bolt, bolt.root(), {"v1", space, "containers", container.id});
    if (!record || !*record)
      return record ? Error{Errc::not_found, "no record of the container"} : record.error();
    auto image = bolt.find_value(**record, "image");
    if (!image) return std::move(image).error();
    const std::string name = image->value_or("");
    const auto target = descend(bolt, bolt.root(), {"v1", space, "images", name, "target"});
    if (!target || !*target)
      return target ? Error{Errc::not_found, "no record of image " + name} : target.error();
    auto value = bolt.find_value(**target, "digest");
    if (!value) return std::move(value).error();
    digest = value->value_or("");
    return Done{};
  });
  if (!read) return Error(read.error()).within(file);
  return digest;
}

// The manifest's layers, and the configuration that it names.
Result<ImageReference> containerd_manifest(const Root& node, const Container& container) {
  const std::string& root = container.engine_root.raw;
  auto digest = image_digest(node, root, container);
  if (!digest) return std::move(digest).error();
  const auto system = sys::uname();
  const std::string machine = system ? static_cast<const char*>(system->machine) : "";
  ImageReference reference{*std::move(digest), false};
  for (int i = 0; i < kMaxReferences; ++i) {
    const auto hex = hex_of(reference.digest);
    if (!hex) return hex.error();
    if (reference.is_config) return reference;
    auto blob = read_named(node, root + std::string(kBlobs) + *hex, *hex);
    if (!blob) return std::move(blob).error();
    auto next = parse_image_manifest(*blob, machine);
    if (!next) return std::move(next).error().within("blob " + *hex);
    reference = *std::move(next);
  }
  return Error{Errc::limit, "the image's index leads to one after the other"};
}

Result<std::string> containerd_config(const Root& node, const Container& container) {
  const auto manifest = containerd_manifest(node, container);
  if (!manifest) return manifest.error();
  const auto hex = hex_of(manifest->digest);
  if (!hex) return hex.error();
  return read_named(node, container.engine_root.raw + std::string(kBlobs) + *hex, *hex);
}

}  // namespace

Result<std::vector<std::string>> find_layer_blobs(const Root& node, const Container& container) {
  auto manifest = containerd_manifest(node, container);
  if (!manifest) return std::move(manifest).error().within("image manifest");
  for (const std::string& digest : manifest->layers) {
    if (auto valid = hex_of(digest); !valid) return std::move(valid).error();
  }
  return std::move(manifest->layers);
}

Result<std::vector<ImageLayer>> find_image_layers(const Root& node, const Container& container) {
  if (container.engine_root.empty())
    return Error{Errc::not_found, "where its engine keeps its files is not known"};
  auto config = container.engine == "docker"       ? docker_config(node, container)
                : container.engine == "containerd" ? containerd_config(node, container)
                                                   : storage_config(node, container);
  if (!config) return std::move(config).error().within("image configuration");
  return parse_image_config(*config);
}

}  // namespace ctriage::runtime
