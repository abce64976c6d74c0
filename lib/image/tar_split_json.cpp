#include <nlohmann/json.hpp>

#include "lib/core/text.h"
#include "lib/image/tar_split.h"
#include "lib/model/json_limits.h"

namespace ctriage::image {
namespace {

using nlohmann::json;
constexpr JsonLimits kLimits{.bytes = kMaxSplitLineBytes, .depth = 4, .elements = 64};

Error bad(const char* why) { return {Errc::malformed, std::string("tar-split: ") + why}; }

std::optional<std::string> text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

}  // namespace

Result<SplitEntry> parse_split_entry(std::string_view line) {
  const auto document = parse_limited(line, kLimits);
  if (!document) return Error(document.error()).within("tar-split");
  if (!document->is_object()) return bad("a line that is no object");
  SplitEntry entry;
  const auto type = document->find("type");
  if (type == document->end() || !type->is_number_unsigned()) return bad("a line without a type");
  const auto number = type->get<std::uint64_t>();
  if (number != 1 && number != 2) return bad("neither a file nor a segment");
  entry.file = number == 1;
  auto payload = from_base64(text_of(*document, "payload").value_or(""));
  if (!payload) return bad("a payload that is no base64");
  entry.payload = *std::move(payload);
  if (!entry.file) return entry;
  if (const auto raw = text_of(*document, "name_raw")) {
    auto name = from_base64(*raw);
    if (!name) return bad("a name that is no base64");
    entry.name = *std::move(name);
  } else {
    entry.name = text_of(*document, "name").value_or("");
  }
  const auto size = document->find("size");
  if (size != document->end()) {
    if (!size->is_number_unsigned()) return bad("a size that is no number");
    entry.size_bytes = size->get<std::uint64_t>();
  }
  return entry;
}

}  // namespace ctriage::image
