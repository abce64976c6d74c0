#include <nlohmann/json.hpp>
#include <utility>

#include "lib/model/json_limits.h"
#include "lib/runtime/image_layers.h"
#include "lib/runtime/members.h"

namespace ctriage::runtime {
namespace {

using nlohmann::json;

constexpr JsonLimits kLimits{.bytes = kMaxImageJsonBytes, .depth = kMaxJsonDepth, .elements = 50'000};
constexpr std::size_t kMaxMadeByBytes = 4'096;

// GOARCH of uname(2)'s machine, OCI image-spec image-index.md "platform".
std::string_view architecture(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

}  // namespace

Result<std::vector<ImageLayer>> parse_image_config(std::string_view text) {
  constexpr std::string_view kWhat = "image configuration";
  const auto document = parse_limited(text, kLimits);
  if (!document) return Error(document.error()).within(kWhat);
  if (!document->is_object()) return Error{Errc::malformed, std::string(kWhat) + ": not an object"};
  Members members;
  std::vector<ImageLayer> layers;
  for (std::string& digest : members.texts(members.object(&*document, "rootfs"), "diff_ids"))
    layers.push_back({std::move(digest), std::nullopt});
  if (layers.size() > kMaxLayers)
    return Error{Errc::limit, std::string(kWhat) + ": more than " + std::to_string(kMaxLayers) + " layers"};
  std::vector<std::string> made_by;
  if (const json* history = members.list(&*document, "history")) {
    for (const json& element : *history) {
      const json* entry = members.element(element, "history");
      if (members.flag(entry, "empty_layer")) continue;
      made_by.push_back(members.text_or_none(entry, "created_by").substr(0, kMaxMadeByBytes));
    }
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  if (made_by.size() == layers.size()) {
    for (std::size_t i = 0; i < layers.size(); ++i) layers[i].made_by = Bytes(std::move(made_by[i]));
  }
  return layers;
}

Result<ImageReference> parse_image_manifest(std::string_view text, std::string_view machine) {
  constexpr std::string_view kWhat = "image manifest";
  const auto document = parse_limited(text, kLimits);
  if (!document) return Error(document.error()).within(kWhat);
  if (!document->is_object()) return Error{Errc::malformed, std::string(kWhat) + ": not an object"};
  Members members;
  if (const json* config = members.object(&*document, "config")) {
    ImageReference reference{members.text_or_none(config, "digest"), true};
    if (const json* layers = members.list(&*document, "layers")) {
      if (layers->size() > kMaxLayers)
        return Error{Errc::limit,
                     std::string(kWhat) + ": more than " + std::to_string(kMaxLayers) + " layers"};
      for (const json& layer : *layers)
        reference.layers.push_back(members.text_or_none(members.element(layer, "layers"), "digest"));
    }
    if (members.error()) return Error(*members.error()).within(kWhat);
    return reference;
  }
  const json* manifests = members.list(&*document, "manifests");
  std::optional<std::string> only;
  std::size_t count = 0;
  if (manifests != nullptr) {
    for (const json& element : *manifests) {
      const json* entry = members.element(element, "manifests");
      const json* platform = members.object(entry, "platform");
      const std::string digest = members.text_or_none(entry, "digest");
      ++count;
      if (!only) only = digest;
      const bool meant = members.text_or_none(platform, "os") == "linux" &&
                         members.text_or_none(platform, "architecture") == architecture(machine);
      if (meant && !members.error()) return ImageReference{digest, false};
    }
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  if (count == 1) return ImageReference{*only, false};
  return Error{Errc::not_found, std::string(kWhat) + ": neither a configuration nor one for this machine"};
}

}  // namespace ctriage::runtime
