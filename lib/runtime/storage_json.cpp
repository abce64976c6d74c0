#include <nlohmann/json.hpp>
#include <utility>

#include "lib/model/json_limits.h"
#include "lib/runtime/members.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {

using nlohmann::json;

Result<std::vector<StorageRecord>> parse_storage_records(std::string_view text) {
  constexpr std::string_view kWhat = "containers/storage records";
  const auto document = parse_limited(text);
  if (!document) return Error(document.error()).within(kWhat);
  if (document->is_null()) return std::vector<StorageRecord>{};  // a list without elements
  if (!document->is_array()) return Error{Errc::malformed, std::string(kWhat) + ": not a list"};
  std::vector<StorageRecord> records;
  Members members;
  for (const json& element : *document) {
    const json* entry = members.element(element, "containers");
    StorageRecord& record = records.emplace_back();
    record.id = members.text_or_none(entry, "id");
    if (!members.error() && !is_identifier(record.id)) members.wrong("id");
    const auto names = members.texts(entry, "names");
    if (!names.empty()) record.name = names.front();
    record.image_id = members.text_or_none(entry, "image");
    record.layer = members.text_or_none(entry, "layer");
    record.created_at = members.time(entry, "created");
    const std::string metadata = members.text_or_none(entry, "metadata");
    if (metadata.empty()) continue;
    const auto inner = parse_limited(metadata);
    if (!inner || !inner->is_object()) {
      members.wrong("metadata");
      break;
    }
    record.image_name = members.text_or_none(&*inner, "image-name");
    record.pod_name = members.text_or_none(&*inner, "pod-name");
    record.pod_id = members.text_or_none(&*inner, "pod-id");
    record.pod_namespace = members.text_or_none(&*inner, "namespace");
    record.pod_uid = members.text_or_none(&*inner, "uid");
    record.container_name = members.text_or_none(&*inner, "metadata-name");
  }
  if (members.error()) return Error(*members.error()).within(kWhat);
  return records;
}

}  // namespace ctriage::runtime
