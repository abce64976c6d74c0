#include "lib/rules/match.h"

#include <re2/re2.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "lib/core/text.h"
#include "lib/model/record.h"
#include "lib/rules/number.h"

namespace ctriage::rules {
namespace {

// memmem(3) is linear in the worst case, which std::string_view::find is not.
bool contains(std::string_view text, std::string_view part) {
  return part.size() <= text.size() &&
         ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

// "10.0.0.1", or "10.0.0.1:80" and "[::1]:80" as sockets are written.
bool lies_in(const Network& network, const std::string& text) {
  auto address = parse_address(text);
  if (!address) {
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) return false;
    std::string_view host = std::string_view(text).substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    address = parse_address(std::string(host));
  }
  return address && is_in(network, *address);
}

bool compare(Op op, std::string_view value, std::string_view wanted) {
  const auto left = parse_whole(value);
  const auto right = parse_whole(wanted);
  if (!left || !right) return false;
  const auto order = *left <=> *right;
  switch (op) {
    case Op::lt:
      return order < 0;
    case Op::lte:
      return order <= 0;
    case Op::gt:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool fits(Op op, const std::string& value, std::string_view wanted) {
  switch (op) {
    case Op::equal:
      return value == wanted;
    case Op::contains:
      return contains(value, wanted);
    case Op::starts:
      return value.starts_with(wanted);
    case Op::ends:
      return value.ends_with(wanted);
    default:
      return compare(op, value, wanted);
  }
}

bool matches(const Pattern& pattern, std::size_t slot, Memo& memo) {
  if (pattern.op == Op::absent) {
    return std::ranges::all_of(memo.values(slot), [](const std::string& value) { return value.empty(); });
  }
  const auto& values = pattern.fold ? memo.folded(slot) : memo.values(slot);
  if (!pattern.field.empty()) {
    const auto& others = pattern.fold ? memo.folded(pattern.slot) : memo.values(pattern.slot);
    return std::ranges::any_of(values, [&](const std::string& value) {
      return std::ranges::any_of(others,
                                 [&](const std::string& other) { return fits(pattern.op, value, other); });
    });
  }
  return std::ranges::any_of(values, [&](const std::string& value) {
    if (pattern.op == Op::expression) return re2::RE2::PartialMatch(value, *pattern.expression);
    if (pattern.op == Op::network) return lies_in(pattern.network, value);
    return fits(pattern.op, value, pattern.text);
  });
}

}  // namespace

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::size_t Memo::slot_of(const std::string& path) {
  const auto found = std::ranges::find(slots_, path, &Slot::path);
  if (found != slots_.end()) return static_cast<std::size_t>(found - slots_.begin());
  slots_.emplace_back().path = path;
  return slots_.size() - 1;
}

void Memo::assign_slots(FieldMap& fields) {
  for (FieldTest& test : fields) {
    test.slot = slot_of(test.path);
    for (Pattern& pattern : test.patterns) {
      if (!pattern.field.empty()) pattern.slot = slot_of(pattern.field);
    }
  }
}

void Memo::begin(const Record& record) {
  record_ = &record;
  ++count_;
}

const std::vector<std::string>& Memo::values(std::size_t slot) {
  Slot& of = slots_[slot];
  if (of.looked_up != count_) {
    of.values = record_->values(of.path);
    of.looked_up = count_;
  }
  return of.values;
}

const std::vector<std::string>& Memo::folded(std::size_t slot) {
  const auto& values = this->values(slot);
  Slot& of = slots_[slot];
  if (of.lowered != count_) {
    of.folded.clear();
    for (const std::string& value : values) of.folded.push_back(lower(value));
    of.lowered = count_;
  }
  return of.folded;
}

bool matches(const FieldTest& test, Memo& memo) {
  if (test.exists) return *test.exists != memo.values(test.slot).empty();
  const auto one = [&](const Pattern& pattern) { return matches(pattern, test.slot, memo); };
  const bool met =
      test.all ? std::ranges::all_of(test.patterns, one) : std::ranges::any_of(test.patterns, one);
  return met != test.invert;
}

bool matches(const FieldMap& fields, Memo& memo) {
  return std::ranges::all_of(fields, [&memo](const FieldTest& test) { return matches(test, memo); });
}

bool matches(const std::vector<FieldMap>& any_of, Memo& memo) {
  return std::ranges::any_of(any_of, [&memo](const FieldMap& fields) { return matches(fields, memo); });
}

}  // namespace ctriage::rules
