// Builds a document by SAX, so that every limit is met before memory is spent on what is over it.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/model/json_budget.h"
#include "lib/model/json_limits.h"

namespace ctriage {
namespace {

using nlohmann::json;

class DocumentSax final : public json::json_sax_t, public JsonBudget {
 public:
  explicit DocumentSax(const JsonLimits& limits)
      : JsonBudget(limits.depth, limits.elements, limits.elements) {}
  [[nodiscard]] json take() { return std::move(root_); }

  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return not_json(position);
  }
  bool binary(json::binary_t&) override { return not_json(0); }  // JSON text has none
  bool null() override { return scalar() && place(json(nullptr)) != nullptr; }
  bool boolean(bool value) override { return scalar() && place(json(value)) != nullptr; }
  bool number_integer(std::int64_t value) override { return scalar() && place(json(value)) != nullptr; }
  bool number_unsigned(std::uint64_t value) override { return scalar() && place(json(value)) != nullptr; }
  bool number_float(double value, const std::string&) override {
    return scalar() && place(json(value)) != nullptr;
  }
  bool string(std::string& value) override { return scalar() && place(json(std::move(value))) != nullptr; }
  bool key(std::string& name) override {
    key_ = std::move(name);
    return true;
  }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }

 private:
  json* place(json&& value) {
    if (path_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *path_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }
  bool open(json&& empty) {
    if (!enter()) return false;
    path_.push_back(place(std::move(empty)));  // stays put: a parent grows only after its child is closed
    return true;
  }
  bool close() {
    path_.pop_back();
    return leave();
  }

  json root_;
  std::string key_;
  std::vector<json*> path_;
};

}  // namespace

Result<json> parse_limited(std::string_view text, const JsonLimits& limits) {
  if (auto fits = look_at_json(text, limits.bytes); !fits) return std::move(fits).error();
  DocumentSax sax(limits);
  if (!json::sax_parse(text.begin(), text.end(), &sax)) return sax.take_error();
  return sax.take();
}

}  // namespace ctriage
