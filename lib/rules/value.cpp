#include "lib/rules/value.h"

namespace ctriage::rules {

const Value* Value::find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace ctriage::rules
