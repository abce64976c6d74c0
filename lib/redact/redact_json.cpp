// Redactor over JSON. Members come out in the order of their names.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/text.h"
#include "lib/model/json_limits.h"
#include "lib/redact/redactor.h"

namespace ctriage::redact {
namespace {

using Json = nlohmann::json;

constexpr JsonLimits kLimits{.bytes = 8 << 20,
                             .elements = 2'000'000};  // the longest record, FORMAT.md of lib/bundle
constexpr std::string_view kBase64 = "_b64";

}  // namespace

class JsonRedaction {
 public:
  JsonRedaction(Redactor& redactor, Redactor::Whose whose) : redactor_(redactor), whose_(whose) {}

  void value(Json& at) {
    if (at.is_string()) at = redactor_.alone(at.get_ref<const std::string&>());
    if (at.is_array()) array(at);
    if (at.is_object()) object(at);
  }

 private:
  void array(Json& at) {
    std::vector<std::string> texts;
    for (const Json& item : at) {
      if (!item.is_string()) break;
      texts.push_back(item.get<std::string>());
    }
    if (texts.size() == at.size()) {
      at = redactor_.words(texts);
      return;
    }
    for (Json& item : at) value(item);
  }

  void object(Json& at) {
    const auto named = at.find("name");
    const bool secret = named != at.end() && named->is_string() &&
                        redactor_.is_secret_name(named->get_ref<const std::string&>());
    std::vector<std::string> hidden;  // of those whose bytes stand beside them, where they are no UTF-8
    for (auto& [name, item] : at.items()) {
      // A pair of an xattr or a variable is somebody's in records of ours, too.
      const bool hides = (whose_ == Redactor::Whose::others && redactor_.is_secret_name(name)) ||
                         (secret && name == "value");
      std::string beside = name + std::string(kBase64);
      const bool has_beside = at.contains(beside);
      const Json before = has_beside ? item : Json();
      if (hides && !item.is_object() && !item.is_boolean()) {
        hide(item);
      } else if (std::string_view(name).ends_with(kBase64)) {
        base64(item);
      } else {
        value(item);
      }
      if (has_beside && item != before) hidden.push_back(std::move(beside));
    }
    for (const std::string& name : hidden) at.erase(name);
    if (whose_ == Redactor::Whose::others) hide_names(at);
  }

  void hide_names(Json& at) {
    std::vector<std::pair<std::string, std::string>> renamed;
    for (const auto& [name, item] : at.items()) {
      std::string shown = redactor_.alone(name);
      if (shown != name) renamed.emplace_back(name, std::move(shown));
    }
    for (auto& [name, shown] : renamed) {
      at[shown] = std::move(at[name]);
      at.erase(name);
    }
  }

  void hide(Json& at) {
    if (at.is_array()) {
      for (Json& item : at) hide(item);
    } else if (at.is_object()) {
      object(at);
    } else if (!at.is_null()) {
      at = redactor_.mark(at.is_string() ? at.get_ref<const std::string&>() : at.dump());
    }
  }

  // Bytes that are no UTF-8 stand so beside the text: those of a string, or of each that needs it in a list.
  void base64(Json& at) {
    if (at.is_array()) {
      for (Json& item : at) base64(item);
      return;
    }
    const auto bytes = at.is_string() ? from_base64(at.get_ref<const std::string&>()) : std::nullopt;
    if (bytes) {
      at = to_base64(redactor_.alone(*bytes));
    } else {
      value(at);  // a member that is called so
    }
  }

  Redactor& redactor_;
  Redactor::Whose whose_;
};

Result<std::string> Redactor::json(std::string_view text, Whose whose) {
  auto shown = parse_limited(text, kLimits);
  if (!shown) return std::move(shown).error();
  JsonRedaction(*this, whose).value(*shown);
  return shown->dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ctriage::redact
