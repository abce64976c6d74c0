#include <algorithm>
#include <utility>

#include "lib/rules/embedded.h"
#include "lib/rules/rules.h"

namespace ctriage::rules {
namespace {

constexpr std::size_t kMaxRuleFileBytes = 4 << 20;

// What is new joins; an id that stands in two files of one folder would make the order of files matter.
Status add_file(std::vector<Rule>& rules, std::vector<Rule> more) {
  for (Rule& rule : more) {
    const auto same = std::ranges::find(rules, rule.id, &Rule::id);
    if (same != rules.end()) {
      return Error{Errc::malformed,
                   rule.origin + ": rule " + rule.id + " is in " + same->origin + " already"};
    }
    rules.push_back(std::move(rule));
  }
  return Done{};
}

}  // namespace

bool is_data(std::string_view name) { return name == "os-tools.json" || name == "places.json"; }

std::string_view embedded_data(std::string_view name) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.name == name && is_data(name)) return file.json;
  }
  return {};
}

Result<std::vector<Rule>> builtin_rules() {
  std::vector<Rule> rules;
  for (const EmbeddedFile& file : embedded_files()) {
    if (is_data(file.name)) continue;
    auto more = parse_rules(file.json, "built-in " + std::string(file.name));
    if (!more) return more;
    auto added = add_file(rules, *std::move(more));
    if (!added) return std::move(added).error();
  }
  return rules;
}

Result<std::vector<Rule>> load_rules(const Root& directory) {
  std::vector<Rule> rules;
  NameBlock block;
  do {
    auto next = list_names(directory, block.names.empty() ? std::string() : block.names.back());
    if (!next) return std::move(next).error();
    block = *std::move(next);
    for (const std::string& name : block.names) {
      if (!name.ends_with(".json") || name.starts_with('.') || is_data(name)) continue;
      const std::string shown = directory.name() + '/' + name;
      auto text = directory.read_file_in_root(name, kMaxRuleFileBytes);
      if (!text) return std::move(text).error().within(shown);
      auto more = parse_rules(*text, shown);
      if (!more) return more;
      auto added = add_file(rules, *std::move(more));
      if (!added) return std::move(added).error();
    }
  } while (block.more && !block.names.empty());
  return rules;
}

void join_rules(std::vector<Rule>& rules, std::vector<Rule> more) {
  for (Rule& rule : more) {
    const auto same = std::ranges::find(rules, rule.id, &Rule::id);
    if (same != rules.end()) {
      *same = std::move(rule);
    } else {
      rules.push_back(std::move(rule));
    }
  }
}

}  // namespace ctriage::rules
