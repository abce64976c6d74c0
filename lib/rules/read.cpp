// A rule file of ours, see FORMAT.md. Rule files come from a folder the user names: hostile like any input.
#include <algorithm>
#include <utility>

#include "lib/model/record.h"
#include "lib/rules/condition.h"
#include "lib/rules/entry.h"
#include "lib/rules/template.h"

namespace ctriage::rules {
namespace {

Status take_text(const Value& entry, std::string_view field, std::string& into) {
  const Value* found = entry.find(field);
  if (found == nullptr) return bad(field, "missing");
  if (!found->is(Value::Kind::text)) return bad(field, "not a string");
  if (found->text.empty()) return bad(field, "empty");
  if (found->text.size() > kMaxTextBytes) return Error{Errc::limit, std::string(field) + ": too long"};
  into = found->text;
  return Done{};
}

Status check_version(const Value& holder) {
  const Value* found = holder.find("version");
  if (found == nullptr || (found->is(Value::Kind::number) && found->text == "1")) return Done{};
  return Error{Errc::unsupported, "version: only 1 is supported by this version"};
}

void check_keys(const Value& entry, std::initializer_list<std::string_view> known, std::string_view what,
                Mistakes& mistakes) {
  for (const auto& [key, value] : entry.members) {
    if (std::ranges::find(known, key) == known.end()) {
      mistakes.add(bad(key, "not a field of " + std::string(what)));
    }
  }
}

// A short list of ids.
void take_ids(const Value& entry, std::string_view field, std::string_view more, std::string_view why,
              Mistakes& mistakes, std::vector<std::string>& into) {
  const Value* list = entry.find(field);
  if (list == nullptr) return;
  if (!list->is(Value::Kind::list) || list->items.size() > kMaxSelections) {
    return mistakes.add(bad(field, "not a short list"));
  }
  for (const Value& one : list->items) {
    if (!one.is(Value::Kind::text) || !is_name(one.text, more) || one.text.size() > kMaxIdBytes) {
      return mistakes.add(bad(field, why));
    }
    into.push_back(one.text);
  }
}

FieldNames names_of(const std::string& artifact, std::size_t& expressions) {
  FieldNames names;
  names.artifact = artifact;
  names.dialect.expressions = &expressions;
  names.dialect.field = [artifact](std::string_view name) -> std::optional<std::string> {
    if (!has_field(artifact, name)) return std::nullopt;
    return std::string(name);
  };
  names.compile = [artifact, dialect = names.dialect](std::string_view name,
                                                      const std::vector<std::string_view>& modifiers,
                                                      const Value& wanted) -> Result<FieldTest> {
    if (!has_field(artifact, name)) {
      return Error{Errc::malformed, "artifact " + artifact + " has no such field"};
    }
    return compile_test(std::string(name), modifiers, wanted, dialect);
  };
  return names;
}

bool take_artifact(const Value& entry, Mistakes& mistakes, std::string& into) {
  auto done = take_text(entry, "artifact", into);
  if (done && !has_kind(into)) done = bad("artifact", "no artifact is called \"" + into + '"');
  const bool known = bool(done);
  mistakes.check(std::move(done));
  return known;
}

void take_detect(const Value& entry, const std::string& artifact, std::size_t& expressions,
                 Mistakes& mistakes, Detection& into) {
  const Value* detect = entry.find("detect");
  if (detect == nullptr) return mistakes.add(bad("detect", "missing"));
  take_detection(*detect, "detect", names_of(artifact, expressions), true, mistakes, into);
}

class Reader {
 public:
  Reader(std::string_view origin, RuleFile& into) : origin_(origin), into_(into), mistakes_(origin, into) {}

  void run(const Value& document) {
    const Value* rules = document.find("rules");
    const Value* suppress = document.find("suppress");
    const Value* explain = document.find("explain_changes");
    if (rules != nullptr || suppress != nullptr || explain != nullptr) {
      for (const auto& [key, value] : document.members) {
        if (key != "rules" && key != "suppress" && key != "explain_changes" && key != "version")
          mistakes_.add({Errc::unsupported, key + ": not supported by this version"});
      }
      mistakes_.check(check_version(document));
      each(rules, "rules", &Reader::take_rule);
      each(suppress, "suppress", &Reader::take_suppression);
      each(explain, "explain_changes", &Reader::take_explanation);
      return;
    }
    if (document.is(Value::Kind::map)) return take_rule(document, 1);
    if (!document.is(Value::Kind::list)) {
      return mistakes_.add({Errc::malformed, "not a rule or a list of rules"});
    }
    each(&document, "rules", &Reader::take_rule);
  }

 private:
  void each(const Value* list, std::string_view name, void (Reader::*take)(const Value&, std::size_t)) {
    if (list == nullptr) return;
    mistakes_.entry("");
    if (!list->is(Value::Kind::list)) {
      return mistakes_.add(bad(name, "not a rule or a list of rules"));
    }
    if (list->items.size() > kMaxRules) return mistakes_.add({Errc::limit, "too many rules"});
    std::size_t number = 0;
    for (const Value& entry : list->items) (this->*take)(entry, ++number);
  }

  // False where the rest of it makes no sense.
  bool begin(const Value& entry, const std::string& what, std::size_t number) {
    mistakes_.entry(what + ' ' + std::to_string(number));
    if (entry.is(Value::Kind::map)) return true;
    mistakes_.add({Errc::malformed, "not an object"});
    return false;
  }

  bool take_id(const Value& entry, const std::string& what, std::string& id) {
    auto done = take_text(entry, "id", id);
    if (done && (!is_name(id, "._-") || id.size() > kMaxIdBytes))
      done = bad("id", "letters, digits and ._- only, 64 at most");
    const bool good = bool(done);
    mistakes_.check(std::move(done));
    if (good) mistakes_.entry(what + ' ' + id);
    return good;
  }

  void take_rule(const Value& entry, std::size_t number) {
    if (!begin(entry, "rule", number)) return;
    Rule rule;
    rule.origin = origin_;
    if (!take_id(entry, "rule", rule.id)) return;
    check_keys(entry,
               {"version", "id", "title", "severity", "attack", "artifact", "detect", "explain", "next",
                "known_good"},
               "a rule", mistakes_);
    mistakes_.check(check_version(entry));
    mistakes_.check(take_text(entry, "title", rule.title));
    std::string severity;
    auto done = take_text(entry, "severity", severity);
    const auto parsed = parse_enum<Severity>(severity);
    if (done && !parsed) done = bad("severity", "not info, low, medium, high or critical");
    if (parsed) rule.severity = *parsed;
    mistakes_.check(std::move(done));
    take_ids(entry, "attack", ".", "not a technique id such as T1105", mistakes_, rule.attack);
    if (const Value* known = entry.find("known_good")) {
      if (!known->is(Value::Kind::boolean)) mistakes_.add(bad("known_good", "true or false"));
      rule.known_good = known->text == "true";
    }
    const bool known = take_artifact(entry, mistakes_, rule.artifact);
    if (known) take_detect(entry, rule.artifact, expressions_, mistakes_, rule.detect);
    take_template(entry, "explain", known ? &rule.artifact : nullptr, rule.explain);
    take_template(entry, "next", known ? &rule.artifact : nullptr, rule.next);
    if (std::ranges::find(into_.set.rules, rule.id, &Rule::id) != into_.set.rules.end())
      mistakes_.add(bad("id", "used twice"));
    if (mistakes_.none()) into_.set.rules.push_back(std::move(rule));
  }

  void take_template(const Value& entry, std::string_view field, const std::string* artifact,
                     std::string& into) {
    auto done = take_text(entry, field, into);
    const auto known = [artifact](std::string_view name) {
      return name == "source" || name == "id" || name == "image.name" || artifact == nullptr ||
             has_field(*artifact, name);
    };
    if (done) {
      done = check_template(into, known);
      if (!done) done = std::move(done).error().within(field);
    }
    mistakes_.check(std::move(done));
  }

  void take_suppression(const Value& entry, std::size_t number) {
    if (!begin(entry, "suppression", number)) return;
    check_keys(entry, {"rule", "where", "reason", "until"}, "a suppression", mistakes_);
    Suppression suppression;
    suppression.origin = origin_;
    mistakes_.check(take_text(entry, "rule", suppression.rule));
    mistakes_.check(take_text(entry, "reason", suppression.reason));
    if (const Value* until = entry.find("until")) {
      if (is_date(*until)) {
        suppression.until = until->text;
      } else {
        mistakes_.add(bad("until", "not a day such as 2026-12-31"));
      }
    }
    // Which artifact it is about, the rule says, which may lie in another file: check_suppressions().
    FieldNames names;
    names.dialect.expressions = &expressions_;
    names.dialect.field = [](std::string_view name) { return std::string(name); };
    names.compile = [dialect = names.dialect](std::string_view name,
                                              const std::vector<std::string_view>& modifiers,
                                              const Value& wanted) {
      return compile_test(std::string(name), modifiers, wanted, dialect);
    };
    const Value* where = entry.find("where");
    if (where == nullptr) {
      mistakes_.add(bad("where", "missing"));
    } else {
      take_maps(*where, "where", names, mistakes_, suppression.where);
    }
    if (mistakes_.none()) into_.set.suppressions.push_back(std::move(suppression));
  }

  static bool is_date(const Value& value) {
    if (!value.is(Value::Kind::text)) return false;
    Timestamp time;
    return parse_rfc3339(value.text + "T00:00:00Z", time) &&
           to_rfc3339(time).substr(0, value.text.size()) == value.text;
  }

  void take_explanation(const Value& entry, std::size_t number) {
    if (!begin(entry, "explanation", number)) return;
    Explanation explanation;
    explanation.origin = origin_;
    if (!take_id(entry, "explanation", explanation.id)) return;
    check_keys(entry, {"id", "reason", "artifact", "detect", "overrides"}, "an explanation", mistakes_);
    mistakes_.check(take_text(entry, "reason", explanation.reason));
    if (take_artifact(entry, mistakes_, explanation.artifact))
      take_detect(entry, explanation.artifact, expressions_, mistakes_, explanation.detect);
    take_ids(entry, "overrides", "._-", "not the id of a rule", mistakes_, explanation.overrides);
    const auto& others = into_.set.explanations;
    if (std::ranges::find(others, explanation.id, &Explanation::id) != others.end())
      mistakes_.add(bad("id", "used twice"));
    if (mistakes_.none()) into_.set.explanations.push_back(std::move(explanation));
  }

  std::string origin_;
  RuleFile& into_;
  Mistakes mistakes_;
  std::size_t expressions_ = 0;
};

}  // namespace

RuleFile read_rules(std::string_view text, std::string_view origin) {
  RuleFile file;
  if (origin.ends_with(".yml") || origin.ends_with(".yaml")) {
    read_sigma(text, origin, file);
    return file;
  }
  auto document = parse_json(text);
  if (document) {
    Reader(origin, file).run(*document);
  } else {
    file.mistakes.push_back({std::string(origin), "", std::move(document).error(), false});
  }
  return file;
}

Result<RuleSet> parse_rules(std::string_view text, std::string_view origin) {
  RuleFile file = read_rules(text, origin);
  if (!file.mistakes.empty()) return file.mistakes.front().told();
  return std::move(file.set);
}

}  // namespace ctriage::rules
