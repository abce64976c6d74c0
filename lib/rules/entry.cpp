#include "lib/rules/entry.h"

#include <algorithm>
#include <utility>

#include "lib/core/text.h"
#include "lib/rules/condition.h"

namespace ctriage::rules {

namespace {

// "detect.selection": where a thing stands.
std::string joined(std::string_view where, std::string_view name) {
  std::string all(where);
  all += '.';
  return all += name;
}

}  // namespace

Error bad(std::string_view field, std::string_view why) {
  return {Errc::malformed, std::string(field) + ": " + std::string(why)};
}

bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && std::ranges::all_of(text, [more](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

Error Mistake::told() const {
  Error out = error;
  if (!rule.empty()) out = std::move(out).within(rule);
  return std::move(out).within(origin);
}

void Mistakes::add(Error error) {
  ++count_;
  into_.mistakes.push_back({origin_, called_, std::move(error), false});
}

void Mistakes::check(Status status) {
  if (!status) add(std::move(status).error());
}

void take_maps(const Value& from, const std::string& where, const FieldNames& names, Mistakes& mistakes,
               std::vector<FieldMap>& into) {
  if (from.is(Value::Kind::list) && from.items.empty()) {
    return mistakes.add(bad(where, "empty list: it would match nothing"));
  }
  if (from.is(Value::Kind::list)) {
    if (from.items.size() > kMaxSelections) return mistakes.add({Errc::limit, where + ": too many maps"});
    for (const Value& item : from.items) {
      if (item.is(Value::Kind::list)) return mistakes.add(bad(where, "a list inside a list"));
      if (names.dialect.sigma && !item.is(Value::Kind::map))
        return take_maps(item, where, names, mistakes, into);
      take_maps(item, where, names, mistakes, into);
    }
    return;
  }
  if (!from.is(Value::Kind::map)) {
    if (!names.dialect.sigma) return mistakes.add(bad(where, "not an object of fields"));
    return mistakes.add({Errc::unsupported, where + ": keywords, a search in all fields"});
  }
  if (from.members.empty()) return mistakes.add(bad(where, "empty: it would match everything"));
  FieldMap fields;
  for (const auto& [key, wanted] : from.members) {
    auto words = split(key, '|');
    const std::string_view name = words.front();
    words.erase(words.begin());
    auto test = names.compile(name, words, wanted);
    if (test) {
      fields.push_back(*std::move(test));
    } else {
      mistakes.add(std::move(test).error().within(joined(where, key)));
    }
  }
  into.push_back(std::move(fields));
}

namespace {

void take_condition(const Value* condition, const std::string& where, Mistakes& mistakes, Detection& into) {
  std::string text;
  if (condition != nullptr && condition->is(Value::Kind::list) && !condition->items.empty()) {
    for (const Value& one : condition->items) {  // Sigma: any of them
      if (!one.is(Value::Kind::text)) return mistakes.add(bad(where, "missing or not a string"));
      text += (text.empty() ? "(" : " or (") + one.text + ")";
      if (text.size() > kMaxConditionBytes) return mistakes.add({Errc::limit, where + ": too long"});
    }
  } else if (condition != nullptr && condition->is(Value::Kind::text)) {
    text = condition->text;
  } else {
    return mistakes.add(bad(where, "missing or not a string"));
  }
  auto parsed = parse_condition(text, into.selections);
  if (!parsed) return mistakes.add(std::move(parsed).error().within(where));
  into.condition = *std::move(parsed);
}

}  // namespace

void take_detection(const Value& from, const std::string& where, const FieldNames& names, bool all_used,
                    Mistakes& mistakes, Detection& into) {
  if (!from.is(Value::Kind::map)) return mistakes.add(bad(where, "not an object"));
  if (from.members.size() > kMaxSelections) {
    return mistakes.add({Errc::limit, where + ": too many selections"});
  }
  constexpr std::string_view kReserved[] = {"and", "or", "not", "of", "them", "any", "all", "1"};
  for (const auto& [name, fields] : from.members) {
    if (name == "condition" || name == "timeframe") continue;
    if (!is_name(name, "_-") || std::ranges::find(kReserved, name) != std::end(kReserved)) {
      mistakes.add(bad(where, "\"" + name + "\" cannot be the name of a selection"));
      continue;
    }
    Selection selection{name, {}};
    take_maps(fields, joined(where, name), names, mistakes, selection.any_of);
    into.selections.push_back(std::move(selection));
  }
  take_condition(from.find("condition"), where + ".condition", mistakes, into);
  if (!all_used || into.condition.empty()) return;
  // A selection that the condition does not use is a slip of the pen that would silence what its author
  // meant.
  for (std::size_t i = 0; i < into.selections.size(); ++i) {
    const auto uses = [i](const Node& node) { return node.op == Node::Op::select && node.left == i; };
    if (std::ranges::none_of(into.condition, uses)) {
      mistakes.add(bad(where + '.' + into.selections[i].name, "the condition does not use it"));
    }
  }
}

}  // namespace ctriage::rules
