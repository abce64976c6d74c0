#pragma once
// "selection and not 1 of known_*" over the names of selections.
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/rules/rules.h"

namespace ctriage::rules {

constexpr std::size_t kMaxConditionBytes = 4'096;
constexpr std::size_t kMaxConditionDepth = 32;  // parentheses and `not` inside each other
constexpr std::size_t kMaxConditionNodes = 4'096;

// Errc::malformed with the byte where it stops making sense, limit.
Result<std::vector<Node>> parse_condition(std::string_view text, std::span<const Selection> selections);

// Asks `holds` for as few selections as it takes. False for an empty condition.
bool is_met(std::span<const Node> condition, const std::function<bool(std::size_t)>& holds);

}  // namespace ctriage::rules
