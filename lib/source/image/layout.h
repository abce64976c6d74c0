#pragma once
// The images of an archive or a directory, told by its records:
//
//   OCI image layout            oci-layout, index.json, blobs/sha256/<hex>: image-spec image-layout.md
//   `docker save`, Podman's     manifest.json: [{"Config": file, "RepoTags": [name], "Layers": [file]}];
//   docker-archive              since Docker 25 the files are blobs of an OCI layout beside it
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/runtime/image_layers.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

constexpr std::size_t kMaxImages = 256;       // of one archive, each platform one
constexpr std::size_t kMaxImageLayers = 128;  // Docker's own limit is 127

struct ImageDescriptor {
  std::string media_type;
  std::string digest;    // "sha256:" and 64 digits: checked
  std::string name;      // io.containerd.image.name, else org.opencontainers.image.ref.name
  std::string platform;  // "linux/arm64"; empty: not said
};
struct ImageIndex {  // an index, or a manifest
  std::vector<ImageDescriptor> manifests;
  std::optional<ImageDescriptor> config;  // of a manifest
  std::vector<ImageDescriptor> layers;
  bool checkpoint = false;  // annotated as one of CRI-O or Podman
};
Result<ImageIndex> parse_image_index(std::string_view json);

struct SavedImage {  // an element of manifest.json
  std::string config;
  std::vector<std::string> names;
  std::vector<std::string> layers;
};
Result<std::vector<SavedImage>> parse_saved_images(std::string_view json);

struct ImageConfig {
  Container container;  // what a container of it would run: args, environ, cwd, user, labels; created_at
  std::string platform;
  std::vector<runtime::ImageLayer> layers;  // lowest first
};
Result<ImageConfig> parse_config(std::string_view json);

struct ImageBlob {
  std::string file;    // of the store
  std::string digest;  // "sha256:..." of that file; empty: it is not named by its digest
};
struct StoredImage {
  std::vector<std::string> names;
  std::string manifest_digest;    // empty: not known
  ImageConfig config;             // container is complete: id, name, image
  std::vector<ImageBlob> layers;  // lowest first, as many as config.layers
};

// Every image of the store. What cannot be read, and a record whose bytes do not have the digest that names
// it, is a gap (lost), and the image is left out in the first case. Empty: there is none in it.
Result<std::vector<StoredImage>> find_images(CheckpointStore& store, Task& task);

// SHA-256 of a file of the store, "sha256:...".
Result<std::string> digest_of(CheckpointStore& store, const std::string& file, const Task& task);

}  // namespace ctriage::source
