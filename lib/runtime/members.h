#pragma once
// Members of hostile JSON by name and type. For the *_json.cpp files of this module.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage::runtime {

// Sticky: the first value of the wrong type is remembered and the rest reads as absent. null is as good as
// absent (Go writes nil lists so), and so is everything in what is absent.
class Members {
 public:
  using Json = nlohmann::json;

  const Json* object(const Json* in, const char* key);
  const Json* list(const Json* in, const char* key);
  const std::string* text(const Json* in, const char* key);  // null where the key is absent
  std::string text_or_none(const Json* in, const char* key);
  bool flag(const Json* in, const char* key);
  std::optional<std::int64_t> integer(const Json* in, const char* key);
  std::uint32_t id(const Json* in, const char* key);
  std::vector<std::string> texts(const Json* in, const char* key);
  std::vector<Bytes> bytes(const Json* in, const char* key);
  // {"key": "value"} as "key=value", in order of the keys.
  std::vector<Bytes> pairs(const Json* in, const char* key);
  // Go writes the year 1 for "never": absent.
  std::optional<Timestamp> time(const Json* in, const char* key);
  const Json* element(const Json& in, const char* key);  // of a list of objects
  void wrong(const char* key);
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  template <class Is>
  const Json* find(const Json* in, const char* key, const Is& is);
  std::optional<Error> error_;
};

}  // namespace ctriage::runtime
