#include <nlohmann/json.hpp>

#include "lib/model/json_limits.h"
#include "lib/rules/value.h"

namespace ctriage::rules {
namespace {

using nlohmann::json;

constexpr JsonLimits kFileLimits{.bytes = 4 << 20, .depth = 10, .elements = 100'000};

// As deep as kFileLimits allows.
Value value_of(const json& from) {
  Value value;
  switch (from.type()) {
    case json::value_t::boolean:
      value.kind = Value::Kind::boolean;
      value.text = from.get<bool>() ? "true" : "false";
      break;
    case json::value_t::number_unsigned:
      value.kind = Value::Kind::number;
      value.text = std::to_string(from.get<std::uint64_t>());
      break;
    case json::value_t::number_integer:
      value.kind = Value::Kind::number;
      value.text = std::to_string(from.get<std::int64_t>());
      break;
    case json::value_t::number_float:
      value.kind = Value::Kind::fraction;
      break;
    case json::value_t::string:
      value.kind = Value::Kind::text;
      value.text = from.get<std::string>();
      break;
    case json::value_t::array:
      value.kind = Value::Kind::list;
      for (const json& item : from) value.items.push_back(value_of(item));
      break;
    case json::value_t::object:
      value.kind = Value::Kind::map;
      for (const auto& [name, member] : from.items()) value.members.push_back({name, value_of(member)});
      break;
    default:
      break;
  }
  return value;
}

}  // namespace

Result<Value> parse_json(std::string_view text) {
  auto document = parse_limited(text, kFileLimits);
  if (!document) return std::move(document).error();
  return value_of(*document);
}

}  // namespace ctriage::rules
