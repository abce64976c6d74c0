// Redactor over JSON.
#include <nlohmann/json.hpp>

#include "lib/core/text.h"
#include "lib/redact/redactor.h"

namespace ctriage::redact {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 100;
constexpr std::string_view kBase64 = "_b64";

}  // namespace

class JsonRedaction {
 public:
  JsonRedaction(Redactor& redactor, Redactor::Whose whose) : redactor_(redactor), whose_(whose) {}

  bool value(Json& at, int depth) {
    if (depth > kMaxDepth) return false;
    if (at.is_string()) {
      redactor_.begin();
      at = redactor_.text(at.get_ref<const std::string&>());
      redactor_.begin();
      return true;
    }
    if (at.is_array()) return array(at, depth);
    return !at.is_object() || object(at, depth);
  }

 private:
  bool array(Json& at, int depth) {
    std::vector<std::string> texts;
    for (const Json& item : at) {
      if (!item.is_string()) break;
      texts.push_back(item.get<std::string>());
    }
    if (texts.size() == at.size()) {
      at = redactor_.words(texts);
      return true;
    }
    for (Json& item : at) {
      if (!value(item, depth + 1)) return false;
    }
    return true;
  }

  bool object(Json& at, int depth) {
    const auto named = at.find("name");
    const bool secret = named != at.end() && named->is_string() &&
                        redactor_.is_secret_name(named->get_ref<const std::string&>());
    const Json before = at;
    for (auto& [name, item] : at.items()) {
      const bool hides = whose_ == Redactor::Whose::others &&
                         (redactor_.is_secret_name(name) || (secret && name == "value"));
      if (hides && item.is_string()) {
        item = redactor_.mark(item.get_ref<const std::string&>());
      } else if (std::string_view(name).ends_with(kBase64)) {
        if (!base64(item)) return false;
      } else if (!value(item, depth + 1)) {
        return false;
      }
    }
    // The bytes of a text that was hidden stand beside it where it is no UTF-8.
    for (const auto& [name, item] : before.items()) {
      const auto now = at.find(name);
      if (now != at.end() && *now != item) at.erase(name + std::string(kBase64));
    }
    return true;
  }

  // Bytes that are no UTF-8 stand so beside the text.
  bool base64(Json& at) {
    std::vector<std::string> texts;
    const auto take = [&](const Json& item) {
      auto bytes = item.is_string() ? from_base64(item.get_ref<const std::string&>()) : std::nullopt;
      if (bytes) texts.push_back(*std::move(bytes));
      return bytes.has_value() || item.is_null();
    };
    if (at.is_string()) {
      if (!take(at)) return true;  // a member that is called so
      redactor_.begin();
      at = to_base64(redactor_.text(texts.front()));
      redactor_.begin();
      return true;
    }
    if (!at.is_array()) return value(at, 0);
    for (Json& item : at) {
      texts.clear();
      if (!take(item) || texts.empty()) continue;
      redactor_.begin();
      item = to_base64(redactor_.text(texts.front()));
    }
    redactor_.begin();
    return true;
  }

  Redactor& redactor_;
  Redactor::Whose whose_;
};

Result<std::string> Redactor::json(std::string_view text, Whose whose) {
  const Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error{Errc::malformed, "not JSON"};
  Json shown = parsed;
  if (!JsonRedaction(*this, whose).value(shown, 0)) return Error{Errc::limit, "JSON nested too deep"};
  return shown.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ctriage::redact
