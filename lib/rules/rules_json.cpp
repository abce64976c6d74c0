// A rule file, see rules.h for its form. Rule files come from a folder the user names: hostile like any
// input.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/model/json_limits.h"
#include "lib/model/record.h"
#include "lib/rules/condition.h"
#include "lib/rules/rules.h"
#include "lib/rules/template.h"

namespace ctriage::rules {
namespace {

using nlohmann::json;

constexpr JsonLimits kFileLimits{.bytes = 4 << 20, .depth = 8, .elements = 100'000};
constexpr std::size_t kMaxRules = 4'096;
constexpr std::size_t kMaxTextBytes = 1'024;  // title, explain, next
constexpr std::size_t kMaxIdBytes = 64;
constexpr std::size_t kMaxSelections = 64;
constexpr std::size_t kMaxValues = 4'096;  // of one field

Error bad(std::string_view field, std::string_view why) {
  return {Errc::malformed, std::string(field) + ": " + std::string(why)};
}

bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && std::ranges::all_of(text, [more](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

Status take_text(const json& rule, const char* field, std::string& into) {
  const auto found = rule.find(field);
  if (found == rule.end()) return bad(field, "missing");
  if (!found->is_string()) return bad(field, "not a string");
  into = found->get<std::string>();
  if (into.empty()) return bad(field, "empty");
  if (into.size() > kMaxTextBytes) return Error{Errc::limit, std::string(field) + ": too long"};
  return Done{};
}

Status check_version(const json& holder) {
  const auto found = holder.find("version");
  if (found == holder.end() || (found->is_number_integer() && *found == 1)) return Done{};
  return Error{Errc::unsupported, "version: only 1 is supported by this version"};
}

Status take_value(const json& value, const std::string& field, std::vector<std::string>& into) {
  if (value.is_string()) {
    into.push_back(value.get<std::string>());
  } else if (value.is_boolean()) {
    into.emplace_back(value.get<bool>() ? "true" : "false");
  } else if (value.is_number_unsigned()) {
    into.push_back(std::to_string(value.get<std::uint64_t>()));
  } else if (value.is_number_integer()) {
    into.push_back(std::to_string(value.get<std::int64_t>()));
  } else {
    return bad(field, "a value is a string, an integer or a boolean");
  }
  return Done{};
}

Status take_selection(const json& fields, const Rule& rule, Selection& into) {
  const std::string where = "detect." + into.name;
  if (!fields.is_object()) return bad(where, "not an object of fields");
  if (fields.empty()) return bad(where, "empty: it would match everything");
  for (const auto& [path, wanted] : fields.items()) {
    std::string field = where;
    field.append(".").append(path);
    if (const auto bar = path.find('|'); bar != std::string::npos) {
      return Error{Errc::unsupported,
                   field + ": modifier " + path.substr(bar) + " is not supported by this version"};
    }
    if (!has_field(rule.artifact, path))
      return bad(field, "artifact " + rule.artifact + " has no such field");
    FieldTest test{path, {}};
    if (wanted.is_array()) {
      if (wanted.empty()) return bad(field, "empty list: it would match nothing");
      if (wanted.size() > kMaxValues) return Error{Errc::limit, field + ": too many values"};
      for (const json& value : wanted) {
        if (auto taken = take_value(value, field, test.any_of); !taken) return taken;
      }
    } else if (auto taken = take_value(wanted, field, test.any_of); !taken) {
      return taken;
    }
    into.all_of.push_back(std::move(test));
  }
  return Done{};
}

Status take_detect(const json& holder, Rule& rule) {
  const auto detect = holder.find("detect");
  if (detect == holder.end()) return bad("detect", "missing");
  if (!detect->is_object()) return bad("detect", "not an object");
  if (detect->size() > kMaxSelections) return Error{Errc::limit, "detect: too many selections"};
  for (const auto& [name, fields] : detect->items()) {
    if (name == "condition") continue;
    if (!is_name(name, "_-") || name == "and" || name == "or" || name == "not") {
      return bad("detect", "\"" + name + "\" cannot be the name of a selection");
    }
    Selection selection{name, {}};
    if (auto taken = take_selection(fields, rule, selection); !taken) return taken;
    rule.selections.push_back(std::move(selection));
  }
  const auto condition = detect->find("condition");
  if (condition == detect->end() || !condition->is_string())
    return bad("detect.condition", "missing or not a string");
  auto parsed = parse_condition(condition->get_ref<const std::string&>(), rule.selections);
  if (!parsed) return std::move(parsed).error().within("detect.condition");
  rule.condition = *std::move(parsed);
  // A selection that the condition does not use is a slip of the pen that would silence the rule's author's
  // intent.
  for (std::size_t i = 0; i < rule.selections.size(); ++i) {
    const auto uses = [i](const Node& node) { return node.op == Node::Op::select && node.left == i; };
    if (std::ranges::none_of(rule.condition, uses)) {
      return bad("detect." + rule.selections[i].name, "the condition does not use it");
    }
  }
  return Done{};
}

Status take_attack(const json& holder, Rule& rule) {
  const auto attack = holder.find("attack");
  if (attack == holder.end()) return Done{};
  if (!attack->is_array() || attack->size() > kMaxSelections) return bad("attack", "not a short list");
  for (const json& technique : *attack) {
    if (!technique.is_string() || !is_name(technique.get_ref<const std::string&>(), ".") ||
        technique.get_ref<const std::string&>().size() > kMaxIdBytes) {
      return bad("attack", "not a technique id such as T1105");
    }
    rule.attack.push_back(technique.get<std::string>());
  }
  return Done{};
}

Status take_rule(const json& holder, Rule& rule) {
  constexpr std::array<std::string_view, 9> kKeys{"version",  "id",     "title",   "severity", "attack",
                                                  "artifact", "detect", "explain", "next"};
  for (const auto& [key, value] : holder.items()) {
    if (std::ranges::find(kKeys, key) == kKeys.end()) return bad(key, "not a field of a rule");
  }
  std::string severity;
  if (auto done = check_version(holder); !done) return done;
  if (auto done = take_text(holder, "title", rule.title); !done) return done;
  if (auto done = take_text(holder, "severity", severity); !done) return done;
  if (auto done = take_text(holder, "artifact", rule.artifact); !done) return done;
  if (auto done = take_text(holder, "explain", rule.explain); !done) return done;
  if (auto done = take_text(holder, "next", rule.next); !done) return done;
  const auto parsed = parse_enum<Severity>(severity);
  if (!parsed) return bad("severity", "not info, low, medium, high or critical");
  rule.severity = *parsed;
  if (!has_kind(rule.artifact)) return bad("artifact", "no artifact is called \"" + rule.artifact + '"');
  if (auto done = take_attack(holder, rule); !done) return done;
  if (auto done = take_detect(holder, rule); !done) return done;

  const auto known = [&rule](std::string_view name) {
    return name == "source" || name == "id" || name == "image.name" || has_field(rule.artifact, name);
  };
  if (auto done = check_template(rule.explain, known); !done)
    return std::move(done).error().within("explain");
  if (auto done = check_template(rule.next, known); !done) return std::move(done).error().within("next");
  return Done{};
}

}  // namespace

Result<std::vector<Rule>> parse_rules(std::string_view text, std::string_view origin) {
  auto document = parse_limited(text, kFileLimits);
  if (!document) return std::move(document).error().within(origin);

  const json* list = &*document;
  if (document->is_object() && document->contains("rules")) {
    for (const auto& [key, value] : document->items()) {
      if (key == "rules" || key == "version") continue;
      return Error{Errc::unsupported, std::string(origin) + ": " + key + ": not supported by this version"};
    }
    if (auto done = check_version(*document); !done) return std::move(done).error().within(origin);
    list = &(*document)["rules"];
  }
  const json single = document->is_object() && list == &*document ? json::array({*document}) : json();
  if (!single.is_null()) list = &single;
  if (!list->is_array())
    return Error{Errc::malformed, std::string(origin) + ": not a rule or a list of rules"};
  if (list->size() > kMaxRules) return Error{Errc::limit, std::string(origin) + ": too many rules"};

  std::vector<Rule> rules;
  for (const json& holder : *list) {
    std::string called = "rule " + std::to_string(rules.size() + 1);
    Rule rule;
    rule.origin = origin;
    if (!holder.is_object())
      return Error{Errc::malformed, std::string(origin) + ": " + called + ": not an object"};
    if (auto done = take_text(holder, "id", rule.id); !done) {
      return std::move(done).error().within(called).within(origin);
    }
    if (!is_name(rule.id, "._-") || rule.id.size() > kMaxIdBytes) {
      return bad("id", "letters, digits and ._- only, 64 at most").within(called).within(origin);
    }
    called = "rule " + rule.id;
    if (auto done = take_rule(holder, rule); !done)
      return std::move(done).error().within(called).within(origin);
    if (std::ranges::find(rules, rule.id, &Rule::id) != rules.end()) {
      return bad("id", "used twice").within(called).within(origin);
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace ctriage::rules
