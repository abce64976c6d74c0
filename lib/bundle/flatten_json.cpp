#include <nlohmann/json.hpp>

#include "lib/bundle/acquisition.h"
#include "lib/model/json_budget.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxText = 256 << 10;

using Json = nlohmann::ordered_json;

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string text;
  for (const Json& element : value) text += (text.empty() ? "" : " ") + text_of(element);
  return text;
}

void add(const Json& object, const std::string& prefix, Acquisition::Fields& fields) {
  for (const auto& [name, value] : object.items()) {
    if (value.is_object()) {
      add(value, prefix + name + ".", fields);
    } else {
      fields.emplace_back(prefix + name, text_of(value));
    }
  }
}

}  // namespace

Result<Acquisition::Fields> flatten(std::string_view json) {
  if (auto fits = look_at_json(json, kMaxText); !fits) return std::move(fits).error();
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) return Error{Errc::malformed, "not a JSON object"};
  Acquisition::Fields fields;
  add(object, "", fields);
  return fields;
}

}  // namespace ctriage::bundle
