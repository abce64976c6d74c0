#pragma once
// What `selftest` says: what this node and these privileges allow.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class Ability : std::uint8_t { works, limited, missing };
constexpr auto enum_names(Ability) { return std::array<std::string_view, 3>{"works", "limited", "missing"}; }

struct SelftestCheck {
  std::string name;
  Ability ability = Ability::missing;
  Bytes found;
  std::string without;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "what was tried: rights, node, procfs, openat2, clone, memory, pagemap, ...");
    v("ability", self.ability, "works; limited: with what is said; missing");
    v("found", self.found, "what was seen");
    v("without", self.without, "what is weaker or not had where it does not work");
  }
};

struct SelftestResult {
  std::vector<SelftestCheck> checks;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("checks", self.checks, "each tried once, now, on ctriage itself");
    v("gaps", self.gaps, "what could not be seen on the way");
  }
};

template <>
inline constexpr std::string_view kKind<SelftestCheck> = "selftest_check";
template <>
inline constexpr std::string_view kKind<SelftestResult> = "selftest";

}  // namespace ctriage
