#pragma once
// Lines with {placeholders}: explain and next of a rule.
#include <functional>
#include <string>
#include <string_view>

#include "lib/core/result.h"

namespace ctriage::rules {

// Every placeholder must be one that `known` accepts; a brace without its partner is Errc::malformed.
Status check_template(std::string_view text, const std::function<bool(std::string_view)>& known);

// `value` gives the text of a placeholder. The text must have passed check_template.
std::string fill_template(std::string_view text, const std::function<std::string(std::string_view)>& value);

}  // namespace ctriage::rules
