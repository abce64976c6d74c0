#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/model/record.h"
#include "lib/rules/embedded.h"
#include "lib/rules/rules.h"

namespace ctriage::rules {
namespace {

constexpr std::size_t kMaxRuleFileBytes = 4 << 20;
constexpr std::size_t kMaxUnmet = 4'096;  // that are kept

bool is_rule_file(std::string_view name) {
  return !name.starts_with('.') &&
         (name.ends_with(".json") || name.ends_with(".yml") || name.ends_with(".yaml"));
}

template <class T>
void move_to(std::vector<T>& into, std::vector<T>& from) {
  into.insert(into.end(), std::move_iterator(from.begin()), std::move_iterator(from.end()));
}

// What is new joins; an id that stands in two files of one folder would make the order of files matter.
template <class T>
void add_new(std::vector<T>& into, std::vector<T>& more, const std::string& what,
             std::vector<Mistake>& mistakes) {
  for (T& one : more) {
    const auto same = std::ranges::find(into, one.id, &T::id);
    if (same == into.end()) {
      into.push_back(std::move(one));
    } else {
      mistakes.push_back(
          {one.origin, what + ' ' + one.id, {Errc::malformed, "is in " + same->origin + " already"}, false});
    }
  }
}

void add_file(RuleFile& into, RuleFile more) {
  move_to(into.mistakes, more.mistakes);
  add_new(into.set.rules, more.set.rules, "rule", into.mistakes);
  add_new(into.set.explanations, more.set.explanations, "explanation", into.mistakes);
  move_to(into.set.suppressions, more.set.suppressions);
  if (into.set.unmet.size() < kMaxUnmet) move_to(into.set.unmet, more.set.unmet);
}

template <class T>
void join(std::vector<T>& into, std::vector<T>& more) {
  for (T& one : more) {
    const auto same = std::ranges::find(into, one.id, &T::id);
    if (same != into.end()) {
      *same = std::move(one);
    } else {
      into.push_back(std::move(one));
    }
  }
}

}  // namespace

bool is_data(std::string_view name) { return name == "os-tools.json" || name == "places.json"; }

std::string_view embedded_data(std::string_view name) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.name == name && is_data(name)) return file.json;
  }
  return {};
}

Result<RuleSet> builtin_rules() {
  RuleFile all;
  for (const EmbeddedFile& file : embedded_files()) {
    if (is_data(file.name)) continue;
    add_file(all, read_rules(file.json, "built-in " + std::string(file.name)));
  }
  if (!all.mistakes.empty()) return all.mistakes.front().told();
  return std::move(all.set);
}

void read_file(const Root& directory, const std::string& name, RuleFile& into) {
  const std::string shown = directory.name() + '/' + name;
  auto text = directory.read_file_in_root(name, kMaxRuleFileBytes);
  if (text) return add_file(into, read_rules(*text, shown));
  into.mistakes.push_back({shown, "", std::move(text).error(), false});
}

Status read_directory(const Root& directory, RuleFile& into) {
  NameBlock block;
  do {
    auto next = list_names(directory, block.names.empty() ? std::string() : block.names.back());
    if (!next) return std::move(next).error();
    block = *std::move(next);
    for (const std::string& name : block.names) {
      if (is_rule_file(name) && !is_data(name)) read_file(directory, name, into);
    }
  } while (block.more && !block.names.empty());
  return Done{};
}

Result<RuleSet> load_rules(const Root& directory) {
  RuleFile all;
  if (auto done = read_directory(directory, all); !done) return std::move(done).error();
  if (!all.mistakes.empty()) return all.mistakes.front().told();
  return std::move(all.set);
}

void join_rules(RuleSet& rules, RuleSet more) {
  join(rules.rules, more.rules);
  join(rules.explanations, more.explanations);
  move_to(rules.suppressions, more.suppressions);
  move_to(rules.unmet, more.unmet);
}

std::vector<Mistake> check_suppressions(const RuleSet& rules, const RuleSet& known) {
  std::vector<Mistake> mistakes;
  for (const Suppression& one : rules.suppressions) {
    const auto wrong = [&](std::string why) {
      mistakes.push_back(
          {one.origin, "suppression of " + one.rule, {Errc::malformed, std::move(why)}, false});
    };
    const auto rule = std::ranges::find(known.rules, one.rule, &Rule::id);
    if (rule == known.rules.end()) {
      wrong("no rule is called so");
      continue;
    }
    const auto check = [&](const std::string& path) {
      if (!has_field(rule->artifact, path))
        wrong("where." + path + ": artifact " + rule->artifact + " has no such field");
    };
    for (const FieldMap& fields : one.where) {
      for (const FieldTest& test : fields) {
        check(test.path);
        for (const Pattern& pattern : test.patterns) {
          if (!pattern.field.empty()) check(pattern.field);
        }
      }
    }
  }
  return mistakes;
}

}  // namespace ctriage::rules
