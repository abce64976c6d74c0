// YAML by libyaml's events. stream := document*, document := node, node := scalar | "[" node* "]" |
// "{" (scalar node)* "}".
#include <yaml.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/text.h"
#include "lib/rules/value.h"

namespace ctriage::rules {
namespace {

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { clear(); }
  bool next(yaml_parser_t& parser) {
    clear();
    filled_ = yaml_parser_parse(&parser, &event_) != 0;
    return filled_;
  }
  [[nodiscard]] const yaml_event_t& get() const { return event_; }

 private:
  void clear() {
    if (filled_) yaml_event_delete(&event_);
    filled_ = false;
  }
  yaml_event_t event_{};
  bool filled_ = false;
};

struct Parser {
  Parser() : made(yaml_parser_initialize(&parser) != 0) {}
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser() {
    if (made) yaml_parser_delete(&parser);
  }
  yaml_parser_t parser{};
  bool made;
};

std::string text_of(const yaml_char_t* text, std::size_t size) {
  const unsigned char* begin = text;
  return {begin, begin + size};
}

Value scalar_of(const yaml_event_t& event) {
  Value value;
  value.kind = Value::Kind::text;
  value.text = text_of(event.data.scalar.value, event.data.scalar.length);
  if (event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return value;
  const std::string& text = value.text;
  constexpr std::string_view kNull[] = {"", "~", "null", "Null", "NULL"};
  constexpr std::string_view kTrue[] = {"true", "True", "TRUE"};
  constexpr std::string_view kFalse[] = {"false", "False", "FALSE"};
  if (std::ranges::find(kNull, text) != std::end(kNull)) return {};
  if (std::ranges::find(kTrue, text) != std::end(kTrue)) {
    value.kind = Value::Kind::boolean;
    value.text = "true";
  } else if (std::ranges::find(kFalse, text) != std::end(kFalse)) {
    value.kind = Value::Kind::boolean;
    value.text = "false";
  } else if (parse_number<std::int64_t>(text) || parse_number<std::uint64_t>(text)) {
    value.kind = Value::Kind::number;
  }
  return value;
}

Error at_line(const yaml_mark_t& mark, std::string_view what, Errc code = Errc::malformed) {
  return {code, "line " + std::to_string(mark.line + 1) + ": " + std::string(what)};
}

class Builder {
 public:
  // False at the end of the stream.
  Result<bool> take(const yaml_event_t& event) {
    switch (event.type) {
      case YAML_DOCUMENT_START_EVENT:
        if (documents_.size() == kMaxYamlDocuments)
          return at_line(event.start_mark, "too many documents", Errc::limit);
        documents_.emplace_back();
        open_.clear();
        return true;
      case YAML_ALIAS_EVENT:
        return at_line(event.start_mark, "aliases are not read");
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event.data.scalar;
        if (scalar.anchor != nullptr) return at_line(event.start_mark, "anchors are not read");
        if (scalar.tag != nullptr) return at_line(event.start_mark, "tags are not read");
        return add(scalar_of(event), event);
      }
      case YAML_SEQUENCE_START_EVENT: {
        const auto& start = event.data.sequence_start;
        if (start.anchor != nullptr) return at_line(event.start_mark, "anchors are not read");
        if (start.tag != nullptr) return at_line(event.start_mark, "tags are not read");
        return begin(Value::Kind::list, event);
      }
      case YAML_MAPPING_START_EVENT: {
        const auto& start = event.data.mapping_start;
        if (start.anchor != nullptr) return at_line(event.start_mark, "anchors are not read");
        if (start.tag != nullptr) return at_line(event.start_mark, "tags are not read");
        return begin(Value::Kind::map, event);
      }
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        open_.pop_back();
        return true;
      case YAML_STREAM_END_EVENT:
        return false;
      default:
        return true;
    }
  }
  std::vector<Value> documents() && { return std::move(documents_); }

 private:
  Result<bool> begin(Value::Kind kind, const yaml_event_t& event) {
    if (open_.size() == kMaxYamlDepth) return at_line(event.start_mark, "nested too deeply", Errc::limit);
    Value value;
    value.kind = kind;
    auto added = add(std::move(value), event);
    if (!added) return added;
    open_.push_back({last_, {}, false});
    return true;
  }

  // A key waits for its value; a value goes where it belongs.
  Result<bool> add(Value value, const yaml_event_t& event) {
    if (++values_ > kMaxYamlValues) return at_line(event.start_mark, "too many values", Errc::limit);
    if (open_.empty()) {
      documents_.back() = std::move(value);
      last_ = &documents_.back();
      return true;
    }
    Open& in = open_.back();
    if (in.value->kind == Value::Kind::list) {
      in.value->items.push_back(std::move(value));
      last_ = &in.value->items.back();
      return true;
    }
    if (!in.has_key) {
      if (value.kind == Value::Kind::list || value.kind == Value::Kind::map)
        return at_line(event.start_mark, "a key is not plain text");
      if (in.value->members.size() == kMaxYamlMembers)
        return at_line(event.start_mark, "too many keys", Errc::limit);
      if (in.value->find(value.text) != nullptr)
        return at_line(event.start_mark, "key \"" + value.text + "\" is used twice");
      in.key = std::move(value.text);
      in.has_key = true;
      return true;
    }
    in.value->members.push_back({std::move(in.key), std::move(value)});
    in.has_key = false;
    last_ = &in.value->members.back().value;
    return true;
  }

  struct Open {
    Value* value;  // stays where it is: what holds it does not grow while it is open
    std::string key;
    bool has_key;
  };
  std::vector<Value> documents_;
  std::vector<Open> open_;
  Value* last_ = nullptr;
  std::size_t values_ = 0;
};

}  // namespace

Result<std::vector<Value>> parse_yaml(std::string_view text) {
  if (text.size() > kMaxYamlBytes)
    return Error{Errc::limit, "longer than " + std::to_string(kMaxYamlBytes) + " bytes"};
  if (!is_utf8(text)) return Error{Errc::malformed, "not UTF-8"};
  if (text.empty()) return std::vector<Value>();
  Parser of;
  if (!of.made) return Error{Errc::limit, "no memory for a YAML parser"};
  const std::vector<unsigned char> bytes(text.begin(), text.end());
  yaml_parser_set_input_string(&of.parser, bytes.data(), bytes.size());
  Builder builder;
  Event event;
  while (true) {
    if (!event.next(of.parser)) {
      const char* problem = of.parser.problem;
      return at_line(of.parser.problem_mark, problem != nullptr ? problem : "not YAML");
    }
    auto more = builder.take(event.get());
    if (!more) return std::move(more).error();
    if (!*more) return std::move(builder).documents();
  }
}

}  // namespace ctriage::rules
