// Sigma rules, https://sigmahq.io/sigma-specification (rules 2.0), as far as what we see answers them: what
// they need besides is named, and the rule left out.
#include <algorithm>
#include <array>
#include <utility>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/rules/condition.h"
#include "lib/rules/entry.h"

namespace ctriage::rules {
namespace {

struct FieldName {
  std::string_view sigma;
  std::string_view ours;
};

struct LogSource {
  std::string_view category;
  std::string_view artifact;
  std::span<const FieldName> fields;
  // What makes an artifact an event of that kind.
  std::string_view event_field;
  std::span<const std::string_view> event_values;
  std::string_view explain;
};

constexpr std::array kProcessFields{
    FieldName{"Image", "exe.path"},
    FieldName{"CommandLine", "command_line"},
    FieldName{"ParentImage", "parent.exe.path"},
    FieldName{"ParentCommandLine", "parent.command_line"},
    FieldName{"User", "credentials.uids"},
    FieldName{"ParentUser", "parent.credentials.uids"},
    FieldName{"CurrentDirectory", "cwd"},
    FieldName{"ProcessId", "pid"},
    FieldName{"ParentProcessId", "ppid"},
    FieldName{"LogonId", "login_uid"},
    FieldName{"sha256", "exe.sha256"},
};
constexpr std::array kFileFields{FieldName{"TargetFilename", "path"}};
constexpr std::array kSocketFields{
    FieldName{"DestinationIp", "remote_address"},
    FieldName{"DestinationPort", "remote_port"},
    FieldName{"SourceIp", "local_address"},
    FieldName{"SourcePort", "local_port"},
    FieldName{"Initiated", "connected"},
    FieldName{"Image", "process.exe.path"},
    FieldName{"CommandLine", "process.command_line"},
    FieldName{"User", "process.credentials.uids"},
    FieldName{"ProcessId", "pids"},
};
constexpr std::array<std::string_view, 4> kWritten{"added", "content", "type", "renamed"};
constexpr std::array<std::string_view, 1> kConnected{"true"};
constexpr std::array kLogSources{
    LogSource{"process_creation",
              "process",
              kProcessFields,
              "",
              {},
              "pid {pid}, uid {credentials.uids}: {command_line}"},
    LogSource{"file_event", "file_change", kFileFields, "kind", kWritten, "{kind}: {path}"},
    LogSource{"network_connection", "socket", kSocketFields, "connected", kConnected,
              "{family} {local} to {remote}, processes {pids}"},
};

constexpr std::string_view kNext = "ctriage show {source} {id}";
constexpr std::size_t kIdDigits = 12;

Error unmet(std::string what) { return {Errc::unsupported, std::move(what)}; }

const std::string* text_of(const Value& from, std::string_view key) {
  const Value* found = from.find(key);
  return found != nullptr && found->is(Value::Kind::text) ? &found->text : nullptr;
}

// The answer of the table, or what is missing.
Result<const LogSource*> find_source(const Value& rule) {
  const Value* source = rule.find("logsource");
  if (source == nullptr || !source->is(Value::Kind::map)) return bad("logsource", "missing");
  for (const auto& [key, value] : source->members) {
    if (key == "definition") continue;
    if (!value.is(Value::Kind::text)) return bad("logsource." + key, "not a string");
    if (key == "product" && value.text == "linux") continue;
    if (key == "category") continue;
    return unmet("logsource " + key + ' ' + value.text);
  }
  const std::string* category = text_of(*source, "category");
  if (category == nullptr) return unmet("logsource without category");
  const auto* found = std::ranges::find(kLogSources, *category, &LogSource::category);
  if (found == kLogSources.end()) return unmet("logsource category " + *category);
  return found;
}

// Names of users are the container's /etc/passwd to say, which the attacker may have written; only root is
// the same everywhere.
Result<Value> user_of(const Value& wanted, const std::vector<std::string_view>& modifiers) {
  if (!modifiers.empty()) return unmet("User with modifiers: users are known by number");
  if (wanted.is(Value::Kind::number)) return wanted;
  if (wanted.is(Value::Kind::list)) {
    Value list = wanted;
    for (Value& item : list.items) {
      if (item.is(Value::Kind::list)) return bad("User", "a list inside a list");
      auto one = user_of(item, modifiers);
      if (!one) return one;
      item = *std::move(one);
    }
    return list;
  }
  if (!wanted.is(Value::Kind::text) || lower(wanted.text) != "root")
    return unmet("User " + wanted.text + ": users but root are known by number");
  Value root = wanted;
  root.text = "0";
  return root;
}

FieldNames names_of(const LogSource& source, std::size_t& expressions) {
  const auto find = [&source](std::string_view name) -> std::optional<std::string> {
    const auto found = std::ranges::find(source.fields, name, &FieldName::sigma);
    if (found == source.fields.end()) return std::nullopt;
    return std::string(found->ours);
  };
  FieldNames names;
  names.dialect = {true, find, &expressions};
  names.compile = [find, dialect = names.dialect](std::string_view name,
                                                  const std::vector<std::string_view>& modifiers,
                                                  const Value& wanted) -> Result<FieldTest> {
    if (name.empty()) return unmet("keywords, a search in all fields");
    const auto path = find(name);
    if (!path) return unmet("field " + std::string(name));
    if (name == "User" || name == "ParentUser") {
      auto user = user_of(wanted, modifiers);
      if (!user) return std::move(user).error();
      return compile_test(*path, modifiers, *user, dialect);
    }
    if (name == "Initiated" && (!modifiers.empty() || lower(wanted.text) != "true"))
      return unmet("Initiated but true: which side began a connection is not recorded");
    return compile_test(*path, modifiers, wanted, dialect);
  };
  return names;
}

// "and it is such an event", as one more selection.
void narrow(const LogSource& source, Detection& detect) {
  if (source.event_values.empty() || detect.condition.empty()) return;
  FieldTest test;
  test.path = source.event_field;
  for (const std::string_view value : source.event_values) {
    Pattern pattern;
    pattern.text = value;
    test.patterns.push_back(std::move(pattern));
  }
  detect.selections.push_back({"event", {{std::move(test)}}});
  const std::size_t whole = detect.condition.size() - 1;
  detect.condition.push_back({Node::Op::select, detect.selections.size() - 1, 0});
  detect.condition.push_back({Node::Op::both, whole + 1, whole});
}

void take_level(const Value& entry, Mistakes& mistakes, Rule& rule) {
  const std::string* level = text_of(entry, "level");
  rule.severity = Severity::medium;  // where the rule does not say
  if (level == nullptr) return;
  const auto parsed = parse_enum<Severity>(*level == "informational" ? "info" : *level);
  if (!parsed) return mistakes.add(bad("level", "not informational, low, medium, high or critical"));
  rule.severity = *parsed;
}

void take_tags(const Value& entry, Rule& rule) {
  const Value* tags = entry.find("tags");
  if (tags == nullptr) return;
  constexpr std::string_view kTechnique = "attack.t";
  for (const Value& tag : tags->items) {
    if (!tag.text.starts_with(kTechnique) || tag.text.size() > kMaxIdBytes ||
        rule.attack.size() == kMaxSelections)
      continue;
    const std::string number = tag.text.substr(kTechnique.size());
    if (number.find_first_not_of("0123456789.") == std::string::npos) rule.attack.push_back("T" + number);
  }
}

void take_names(const Value& entry, Mistakes& mistakes, std::size_t number, Rule& rule) {
  if (const std::string* title = text_of(entry, "title")) rule.title = *title;
  if (const std::string* id = text_of(entry, "id")) rule.id = *id;
  if (rule.id.empty() && !rule.title.empty())
    rule.id = "sigma-" + sha256_hex(rule.title).substr(0, kIdDigits);
  const bool named = is_name(rule.id, "._-") && rule.id.size() <= kMaxIdBytes;
  mistakes.entry("rule " + (named ? rule.id : std::to_string(number)));
  if (!named) mistakes.add(bad("id", "letters, digits and ._- only, 64 at most"));
  if (rule.title.empty()) mistakes.add(bad("title", "missing or not a string"));
  if (rule.title.size() > kMaxTextBytes) mistakes.add({Errc::limit, "title: too long"});
}

void take_document(const Value& entry, std::size_t number, std::string_view origin, std::size_t& expressions,
                   RuleFile& into) {
  Mistakes mistakes(origin, into);
  mistakes.entry("rule " + std::to_string(number));
  if (!entry.is(Value::Kind::map)) return mistakes.add({Errc::malformed, "not a map of fields"});
  Rule rule;
  rule.form = Form::sigma;
  rule.origin = origin;
  take_names(entry, mistakes, number, rule);
  if (entry.find("correlation") != nullptr) return mistakes.add(unmet("correlation of several events"));
  if (entry.find("action") != nullptr) return mistakes.add(unmet("action: a collection of rules"));
  take_level(entry, mistakes, rule);
  take_tags(entry, rule);
  const auto source = find_source(entry);
  if (!source) mistakes.add(source.error());
  const Value* detection = entry.find("detection");
  if (detection == nullptr || !detection->is(Value::Kind::map)) {
    return mistakes.add(bad("detection", "missing or not a map"));
  }
  if (detection->find("timeframe") != nullptr) mistakes.add(unmet("timeframe"));
  const std::string* condition = text_of(*detection, "condition");
  if (condition != nullptr && condition->find('|') != std::string::npos) {
    return mistakes.add(unmet("aggregation:" + condition->substr(condition->find('|') + 1)));
  }
  if (!source) return;
  rule.artifact = (*source)->artifact;
  rule.explain = (*source)->explain;
  rule.next = kNext;
  take_detection(*detection, "detection", names_of(**source, expressions), false, mistakes, rule.detect);
  narrow(**source, rule.detect);
  if (std::ranges::find(into.set.rules, rule.id, &Rule::id) != into.set.rules.end())
    mistakes.add(bad("id", "used twice"));
  if (mistakes.none()) into.set.rules.push_back(std::move(rule));
}

}  // namespace

void read_sigma(std::string_view text, std::string_view origin, RuleFile& into) {
  auto documents = parse_yaml(text);
  if (!documents) {
    into.mistakes.push_back({std::string(origin), "", std::move(documents).error(), false});
    return;
  }
  std::size_t expressions = 0;
  std::size_t number = 0;
  for (const Value& document : *documents) take_document(document, ++number, origin, expressions, into);
  // What is not met is no mistake.
  std::vector<Mistake> mistakes;
  for (Mistake& one : into.mistakes) {
    one.unmet = one.error.code == Errc::unsupported;
    (one.unmet ? into.set.unmet : mistakes).push_back(std::move(one));
  }
  into.mistakes = std::move(mistakes);
}

}  // namespace ctriage::rules
