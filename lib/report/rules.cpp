#include "lib/report/rules.h"

#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string line_of(const RuleMistake& mistake) {
  std::string line = safe(mistake.file.raw) + ": ";
  if (!mistake.entry.empty()) line += safe(mistake.entry.raw) + ": ";
  return line + safe(mistake.reason.raw) + "\n";
}

std::string unmet_text(const std::vector<RuleMistake>& unmet) {
  if (unmet.empty()) return {};
  std::string out = "not loaded, for what they need is not seen here:\n";
  for (const RuleMistake& one : unmet) out += "  " + line_of(one);
  return out;
}

std::string sums(std::uint64_t rules, std::uint64_t suppressions, std::uint64_t explanations) {
  return counted(rules, "rule", "rules") + ", " + counted(suppressions, "suppression", "suppressions") +
         ", " + counted(explanations, "explanation", "explanations");
}

}  // namespace

std::string rule_list_text(const RuleList& list, const Style& style) {
  const std::vector<Column> columns = {{"RULE", 12},   {"SEV", 4},   {"ARTIFACT", 11},
                                       {"ATTACK", 18}, {"FROM", 28}, {"TITLE"}};
  std::string out = table_head(columns);
  for (const RuleEntry& rule : list.rules) {
    out +=
        table_row(columns,
                  {safe(rule.id), painted(rule.severity, pad_right(severity_word(rule.severity), 4), style),
                   rule.artifact, join(rule.attack, ","), safe(rule.origin.raw), safe(rule.title)},
                  style);
  }
  return out + unmet_text(list.unmet) + "-- " +
         sums(list.rules.size(), list.suppressions, list.explanations) + "\n";
}

std::string rule_list_json(const RuleList& list) { return document(list); }

std::string rule_check_text(const RuleCheck& check) {
  std::string out;
  for (const RuleMistake& one : check.mistakes) out += line_of(one);
  return out + unmet_text(check.unmet) + "-- " + sums(check.rules, check.suppressions, check.explanations) +
         " are right; " + counted(check.mistakes.size(), "mistake", "mistakes") + ", " +
         counted(check.unmet.size(), "need", "needs") + " not met\n";
}

std::string rule_check_json(const RuleCheck& check) { return document(check); }

}  // namespace ctriage::report
