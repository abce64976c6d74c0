#pragma once
// `rules list` and `rules check` as text and JSON ("ctriage.rules/1", "ctriage.rules_check/1").
#include <string>

#include "lib/model/rule.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string rule_list_text(const RuleList& list, const Style& style);
std::string rule_list_json(const RuleList& list);
// Mistakes, then what is not met, one a line, and a line of sums.
std::string rule_check_text(const RuleCheck& check);
std::string rule_check_json(const RuleCheck& check);

}  // namespace ctriage::report
