#pragma once
// A rule file as a tree, whether it was JSON or YAML.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::rules {

struct Value {
  // number: a whole one, in decimal. fraction: any other; no rule has one.
  enum class Kind : std::uint8_t { null, boolean, number, fraction, text, list, map } kind = Kind::null;
  std::string text;  // "true", "-7", the text
  std::vector<Value> items;
  struct Member;
  std::vector<Member> members;  // no name twice

  [[nodiscard]] const Value* find(std::string_view name) const;
  [[nodiscard]] bool is(Kind wanted) const { return kind == wanted; }
};

struct Value::Member {
  std::string name;
  Value value;
};

// Errc::limit, malformed with the byte where it stops being JSON.
Result<Value> parse_json(std::string_view text);

constexpr std::size_t kMaxYamlBytes = 1 << 20;
constexpr std::size_t kMaxYamlDepth = 12;
constexpr std::size_t kMaxYamlValues = 50'000;
constexpr std::size_t kMaxYamlDocuments = 1'024;
constexpr std::size_t kMaxYamlMembers = 1'000;  // of one map

// All documents of a YAML 1.1 stream. Anchors and aliases, tags of their own, keys that are no plain text and
// keys used twice are malformed. Scalars without quotes are null, true, false or a number as YAML 1.2's core
// schema has them ("yes" is text).
Result<std::vector<Value>> parse_yaml(std::string_view text);

}  // namespace ctriage::rules
