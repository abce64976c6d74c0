#pragma once
// What `rules list` and `rules check` say.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/finding.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct RuleEntry {
  std::string id;
  Severity severity = Severity::info;
  std::string artifact;
  std::string title;
  std::vector<std::string> attack;
  std::string form;
  Bytes origin;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("id", self.id, "of the rule");
    v("severity", self.severity, "of what it finds");
    v("artifact", self.artifact, "which kind of artifact it looks at");
    v("title", self.title, "of the rule");
    v("attack", self.attack, "MITRE ATT&CK techniques");
    v("form", self.form, "ours or sigma");
    v("origin", self.origin, "the file it is from");
  }
};

struct RuleMistake {
  Bytes file;
  Bytes entry;
  Bytes reason;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("file", self.file, "the file it is in");
    v("entry", self.entry, "which rule, suppression or explanation; empty: the file itself");
    v("reason", self.reason, "field and reason");
  }
};

struct RuleList {
  std::vector<RuleEntry> rules;
  std::uint64_t suppressions = 0;
  std::uint64_t explanations = 0;
  std::vector<RuleMistake> unmet;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("rules", self.rules, "that are evaluated");
    v("suppressions", self.suppressions, "entries that keep findings back");
    v("explanations", self.explanations, "entries that say which changes need no look");
    v("unmet", self.unmet, "Sigma rules that are left out, and what each needs that is not seen here");
  }
};

struct RuleCheck {
  std::uint64_t rules = 0;
  std::uint64_t suppressions = 0;
  std::uint64_t explanations = 0;
  std::vector<RuleMistake> mistakes;
  std::vector<RuleMistake> unmet;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("rules", self.rules, "without a mistake");
    v("suppressions", self.suppressions, "the same");
    v("explanations", self.explanations, "the same");
    v("mistakes", self.mistakes, "all there are; with one, --rules does not load the directory");
    v("unmet", self.unmet, "Sigma rules that are left out, and what each needs that is not seen here");
  }
};

template <>
inline constexpr std::string_view kKind<RuleEntry> = "rule";
template <>
inline constexpr std::string_view kKind<RuleMistake> = "rule_mistake";
template <>
inline constexpr std::string_view kKind<RuleList> = "rules";
template <>
inline constexpr std::string_view kKind<RuleCheck> = "rules_check";

}  // namespace ctriage
