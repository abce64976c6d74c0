#include <nlohmann/json.hpp>
#include <utility>

#include "lib/runtime/members.h"

namespace ctriage::runtime {

template <class Is>
const Members::Json* Members::find(const Json* in, const char* key, const Is& is) {
  if (in == nullptr || error_) return nullptr;
  const auto found = in->find(key);
  if (found == in->end() || found->is_null()) return nullptr;
  if (is(*found)) return &*found;
  wrong(key);
  return nullptr;
}

const Members::Json* Members::object(const Json* in, const char* key) {
  return find(in, key, [](const Json& value) { return value.is_object(); });
}

const Members::Json* Members::list(const Json* in, const char* key) {
  return find(in, key, [](const Json& value) { return value.is_array(); });
}

const std::string* Members::text(const Json* in, const char* key) {
  const Json* found = find(in, key, [](const Json& value) { return value.is_string(); });
  return found == nullptr ? nullptr : found->get_ptr<const std::string*>();
}

std::string Members::text_or_none(const Json* in, const char* key) {
  const std::string* found = text(in, key);
  return found == nullptr ? std::string{} : *found;
}

bool Members::flag(const Json* in, const char* key) {
  const Json* found = find(in, key, [](const Json& value) { return value.is_boolean(); });
  return found != nullptr && *found->get_ptr<const bool*>();
}

std::optional<std::int64_t> Members::integer(const Json* in, const char* key) {
  const Json* found = find(in, key, [](const Json& value) { return value.is_number_integer(); });
  if (found == nullptr) return std::nullopt;
  if (found->is_number_unsigned()) {
    const auto value = *found->get_ptr<const std::uint64_t*>();
    if (value > INT64_MAX) {
      wrong(key);
      return std::nullopt;
    }
    return static_cast<std::int64_t>(value);
  }
  return *found->get_ptr<const std::int64_t*>();
}

std::uint32_t Members::id(const Json* in, const char* key) {
  const Json* found = find(in, key, [](const Json& value) { return value.is_number_unsigned(); });
  if (found == nullptr) return 0;
  const auto value = *found->get_ptr<const std::uint64_t*>();
  if (value > UINT32_MAX) wrong(key);
  return static_cast<std::uint32_t>(value);
}

std::vector<std::string> Members::texts(const Json* in, const char* key) {
  std::vector<std::string> all;
  const Json* found = list(in, key);
  if (found == nullptr) return all;
  for (const Json& value : *found) {
    const auto* text = value.get_ptr<const std::string*>();
    if (text == nullptr) {
      wrong(key);
      return {};
    }
    all.push_back(*text);
  }
  return all;
}

std::vector<Bytes> Members::bytes(const Json* in, const char* key) {
  std::vector<Bytes> all;
  for (std::string& text : texts(in, key)) all.emplace_back(std::move(text));
  return all;
}

std::vector<Bytes> Members::pairs(const Json* in, const char* key) {
  std::vector<Bytes> all;
  const Json* found = object(in, key);
  if (found == nullptr) return all;
  for (const auto& [name, value] : found->items()) {
    const auto* text = value.get_ptr<const std::string*>();
    if (text == nullptr) {
      wrong(key);
      return {};
    }
    all.emplace_back(name + "=" + *text);
  }
  return all;
}

std::optional<Timestamp> Members::time(const Json* in, const char* key) {
  const std::string* found = text(in, key);
  Timestamp at;
  if (found == nullptr || found->starts_with("0001-")) return std::nullopt;
  if (parse_rfc3339(*found, at)) return at;
  wrong(key);
  return std::nullopt;
}

const Members::Json* Members::element(const Json& in, const char* key) {
  if (!in.is_object()) wrong(key);
  return in.is_object() && !error_ ? &in : nullptr;
}

void Members::wrong(const char* key) {
  if (!error_) error_ = Error{Errc::malformed, std::string(key) + ": wrong type or out of range"};
}

}  // namespace ctriage::runtime
