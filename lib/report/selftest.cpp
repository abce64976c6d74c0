#include "lib/report/selftest.h"

#include <algorithm>

#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {

std::string selftest_json(const SelftestResult& result) { return document(result); }

std::string selftest_text(const SelftestResult& result) {
  constexpr std::size_t kAbilityColumns = 8;
  std::string out;
  for (const SelftestCheck& check : result.checks) {
    const bool works = check.ability == Ability::works;
    std::string ability(to_text(check.ability));
    if (check.ability == Ability::missing)
      std::ranges::transform(ability, ability.begin(), [](char c) {
        return static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
      });
    out += labelled(safe(check.name), pad_right(std::move(ability), kAbilityColumns) + safe(check.found.raw));
    if (!works && !check.without.empty()) out += labelled("", "        so: " + safe(check.without));
  }
  return out;
}

}  // namespace ctriage::report
