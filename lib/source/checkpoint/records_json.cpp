// JSON beside the images: config.dump of Podman (libpod's ContainerConfig), CRI-O and containerd
// (checkpointctl/lib metadata.go), containerd's status, deleted.files, OCI indices.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/core/hash.h"
#include "lib/model/json_limits.h"
#include "lib/runtime/members.h"
#include "lib/source/checkpoint/layout.h"

namespace ctriage::source {
namespace {

using nlohmann::json;
using runtime::Members;

Result<json> object_of(std::string_view text, std::string_view what) {
  auto document = parse_limited(text);
  if (!document) return std::move(document).error().within(what);
  if (!document->is_object()) return Error{Errc::malformed, std::string(what) + ": not an object"};
  return *std::move(document);
}

template <class T>
Result<T> done(const Members& members, std::string_view what, T&& read) {
  if (members.error()) return Error(*members.error()).within(what);
  return std::forward<T>(read);
}

std::optional<Timestamp> unix_nanoseconds(Members& members, const json* from, const char* key) {
  constexpr std::int64_t kPerSecond = 1'000'000'000;
  const auto value = members.integer(from, key);
  if (!value || *value <= 0) return std::nullopt;
  return Timestamp{*value / kPerSecond, static_cast<std::uint32_t>(*value % kPerSecond)};
}

// Blobs are named by their digest, and the name becomes one of a file.
void read_descriptors(Members& members, const json* document, const char* key,
                      std::vector<OciDescriptor>& into) {
  const json* list = members.list(document, key);
  if (list == nullptr) return;
  for (const json& element : *list) {
    const json* entry = members.element(element, key);
    OciDescriptor descriptor;
    descriptor.media_type = members.text_or_none(entry, "mediaType");
    descriptor.digest = members.text_or_none(entry, "digest");
    constexpr std::string_view kPrefix = "sha256:";
    Digest digest{};
    if (!descriptor.digest.starts_with(kPrefix) ||
        !parse_digest(descriptor.digest.substr(kPrefix.size()), digest))
      members.wrong("digest");
    const auto size = members.integer(entry, "size").value_or(0);
    descriptor.size_bytes = size > 0 ? static_cast<std::uint64_t>(size) : 0;
    into.push_back(std::move(descriptor));
  }
}

}  // namespace

Result<OciIndex> parse_oci_index(std::string_view text) {
  constexpr std::string_view kWhat = "OCI index";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Members members;
  OciIndex index;
  read_descriptors(members, &*document, "manifests", index.manifests);
  read_descriptors(members, &*document, "layers", index.layers);
  index.image =
      members.text_or_none(members.object(&*document, "annotations"), "org.opencontainers.image.ref.name");
  return done(members, kWhat, std::move(index));
}

Result<ConfigDump> parse_config_dump(std::string_view text) {
  constexpr std::string_view kWhat = "config.dump";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Members members;
  const json* config = &*document;
  ConfigDump read;
  read.id = members.text_or_none(config, "id");
  read.name = members.text_or_none(config, "name");
  read.image = members.text_or_none(config, "rootfsImageName");
  if (read.image.empty()) read.image = members.text_or_none(config, "rootfsImage");
  read.image_id = members.text_or_none(config, "rootfsImageID");
  if (read.image_id.empty()) read.image_id = members.text_or_none(config, "rootfsImageRef");
  read.created_at = members.time(config, "createdTime");
  read.checkpointed_at = members.time(config, "checkpointedTime");
  read.restored = members.flag(config, "restored");
  read.labels = members.pairs(config, "labels");
  return done(members, kWhat, std::move(read));
}

Result<std::string> parse_docker_id(std::string_view text) {
  constexpr std::string_view kWhat = "Docker's config.v2.json";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Members members;
  return done(members, kWhat, members.text_or_none(&*document, "ID"));
}

Result<ContainerdStatus> parse_containerd_status(std::string_view text) {
  constexpr std::string_view kWhat = "containerd's status";
  const auto document = object_of(text, kWhat);
  if (!document) return document.error();
  Members members;
  const json* status = &*document;
  if (document->contains("Status")) status = members.object(status, "Status");
  ContainerdStatus read;
  read.created_at = unix_nanoseconds(members, status, "CreatedAt");
  read.started_at = unix_nanoseconds(members, status, "StartedAt");
  const auto pid = members.integer(status, "Pid").value_or(0);
  if (pid < 0 || pid > INT32_MAX) members.wrong("Pid");
  read.pid = static_cast<std::int32_t>(pid);
  return done(members, kWhat, std::move(read));
}

Result<std::vector<std::string>> parse_string_list(std::string_view text) {
  const auto document = parse_limited(text);
  if (!document) return document.error();
  std::vector<std::string> list;
  if (document->is_null()) return list;  // as Go writes a nil list
  if (!document->is_array()) return Error{Errc::malformed, "not a list"};
  for (const json& element : *document) {
    const auto* one = element.get_ptr<const std::string*>();
    if (one == nullptr) return Error{Errc::malformed, "not a list of names"};
    list.push_back(*one);
  }
  return list;
}

}  // namespace ctriage::source
