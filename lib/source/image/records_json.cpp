// JSON of images: image-spec image-index.md, manifest.md, config.md; manifest.json of `docker save`.
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/model/json_limits.h"
#include "lib/runtime/members.h"
#include "lib/source/image/layout.h"

namespace ctriage::source {
namespace {

using nlohmann::json;
using runtime::Members;

constexpr JsonLimits kLimits{
    .bytes = runtime::kMaxImageJsonBytes, .depth = kMaxJsonDepth, .elements = 50'000};
constexpr std::string_view kSha256 = "sha256:";

Result<json> parse(std::string_view text, std::string_view what, bool list) {
  auto document = parse_limited(text, kLimits);
  if (!document) return std::move(document).error().within(what);
  if (list ? !document->is_array() : !document->is_object())
    return Error{Errc::malformed, std::string(what) + (list ? ": not a list" : ": not an object")};
  return *std::move(document);
}

// Blobs are named by their digest, and the name becomes one of a file.
std::string read_digest(Members& members, const json* entry) {
  std::string text = members.text_or_none(entry, "digest");
  Digest digest{};
  if (!text.starts_with(kSha256) || !parse_digest(std::string_view(text).substr(kSha256.size()), digest))
    members.wrong("digest");
  return text;
}

std::string join_platform(Members& members, const json* entry) {
  std::string platform = members.text_or_none(entry, "os");
  const std::string machine = members.text_or_none(entry, "architecture");
  if (!machine.empty()) platform += "/" + machine;
  const std::string variant = members.text_or_none(entry, "variant");
  if (!variant.empty()) platform += "/" + variant;
  return platform;
}

ImageDescriptor read_descriptor(Members& members, const json* entry) {
  ImageDescriptor made;
  made.media_type = members.text_or_none(entry, "mediaType");
  made.digest = read_digest(members, entry);
  const json* notes = members.object(entry, "annotations");
  made.name = members.text_or_none(notes, "io.containerd.image.name");
  if (made.name.empty()) made.name = members.text_or_none(notes, "org.opencontainers.image.ref.name");
  made.platform = join_platform(members, members.object(entry, "platform"));
  return made;
}

void read_list(Members& members, const json* document, const char* key, std::size_t most,
               std::vector<ImageDescriptor>& into) {
  const json* list = members.list(document, key);
  if (list == nullptr) return;
  if (list->size() > most) return members.wrong(key);
  for (const json& element : *list) into.push_back(read_descriptor(members, members.element(element, key)));
}

}  // namespace

Result<ImageIndex> parse_image_index(std::string_view text) {
  constexpr std::string_view kWhat = "image index or manifest";
  const auto document = parse(text, kWhat, false);
  if (!document) return document.error();
  Members members;
  ImageIndex index;
  read_list(members, &*document, "manifests", kMaxImages, index.manifests);
  read_list(members, &*document, "layers", kMaxImageLayers, index.layers);
  if (const json* config = members.object(&*document, "config"))
    index.config = read_descriptor(members, config);
  if (const json* notes = members.object(&*document, "annotations")) {
    for (const auto& [key, value] : notes->items())
      index.checkpoint = index.checkpoint || key.find(".annotations.checkpoint.") != std::string::npos ||
                         key.starts_with("org.criu.checkpoint.");
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  return index;
}

Result<std::vector<SavedImage>> parse_saved_images(std::string_view text) {
  constexpr std::string_view kWhat = "manifest.json";
  const auto document = parse(text, kWhat, true);
  if (!document) return document.error();
  if (document->size() > kMaxImages)
    return Error{Errc::limit, "manifest.json: over " + std::to_string(kMaxImages) + " images"};
  Members members;
  std::vector<SavedImage> images;
  for (const json& element : *document) {
    const json* entry = members.element(element, "manifest.json");
    SavedImage& image = images.emplace_back();
    image.config = members.text_or_none(entry, "Config");
    image.names = members.texts(entry, "RepoTags");
    image.layers = members.texts(entry, "Layers");
    if (image.layers.size() > kMaxImageLayers) members.wrong("Layers");
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  return images;
}

Result<ImageConfig> parse_config(std::string_view text) {
  constexpr std::string_view kWhat = "image configuration";
  const auto document = parse(text, kWhat, false);
  if (!document) return document.error();
  auto layers = runtime::parse_image_config(text);
  if (!layers) return std::move(layers).error();
  ImageConfig config;
  config.layers = *std::move(layers);
  if (config.layers.size() > kMaxImageLayers)
    return Error{Errc::limit, std::string(kWhat) + ": over " + std::to_string(kMaxImageLayers) + " layers"};
  Members members;
  Container& container = config.container;
  config.platform = join_platform(members, &*document);
  container.created_at = members.time(&*document, "created");
  if (const json* runs = members.object(&*document, "config")) {
    container.args = members.bytes(runs, "Entrypoint");
    for (Bytes& word : members.bytes(runs, "Cmd")) container.args.push_back(std::move(word));
    container.environ = members.bytes(runs, "Env");
    container.cwd = Bytes(members.text_or_none(runs, "WorkingDir"));
    container.labels = members.pairs(runs, "Labels");
    const std::string user = members.text_or_none(runs, "User");
    const auto colon = user.find(':');
    container.uid = parse_number<std::uint32_t>(std::string_view(user).substr(0, colon)).value_or(0);
    if (colon != std::string::npos)
      container.gid = parse_number<std::uint32_t>(std::string_view(user).substr(colon + 1)).value_or(0);
    if (!user.empty()) container.labels.emplace_back("image.user=" + user);
    if (const json* ports = members.object(runs, "ExposedPorts")) {
      for (const auto& [port, nothing] : ports->items()) container.labels.emplace_back("image.port=" + port);
    }
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  return config;
}

}  // namespace ctriage::source
