// modifiers := { "|" modifier }, see FORMAT.md. What is compiled here is evaluated in match.cpp.
#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "lib/core/text.h"
#include "lib/rules/match.h"
#include "lib/rules/number.h"

namespace ctriage::rules {
namespace {

enum class Way : std::uint8_t { plain, glob, expression, network, number, exists, field };
enum class Encoding : std::uint8_t { none, base64, base64_offsets };

struct Modifiers {
  Way way = Way::plain;
  Op place = Op::equal;  // contains, starts, ends; of numbers lt, lte, gt, gte
  Encoding encoding = Encoding::none;
  bool all = false;
  bool invert = false;
  bool cased = false;
  bool uncased = false;
  std::string flags;  // of an expression: m, s
};

Error bad(std::string why) { return {Errc::malformed, std::move(why)}; }

Error refused(std::string_view modifier, std::string_view why) {
  return bad("modifier " + std::string(modifier) + ": " + std::string(why));
}

Status set_way(Modifiers& into, Way way, std::string_view name) {
  if (into.way != Way::plain) return refused(name, "does not go with the one before it");
  into.way = way;
  return Done{};
}

Status set_place(Modifiers& into, Op place, std::string_view name) {
  if (into.place != Op::equal) return refused(name, "does not go with the one before it");
  into.place = place;
  return Done{};
}

Status take_modifier(Modifiers& into, std::string_view name, bool sigma) {
  if (name == "contains") return set_place(into, Op::contains, name);
  if (name == "startswith") return set_place(into, Op::starts, name);
  if (name == "endswith") return set_place(into, Op::ends, name);
  if (name == "re") return set_way(into, Way::expression, name);
  if (name == "cidr") return set_way(into, Way::network, name);
  if (name == "exists") return set_way(into, Way::exists, name);
  if (name == "fieldref") return set_way(into, Way::field, name);
  if (name == "glob" && !sigma) return set_way(into, Way::glob, name);
  constexpr std::pair<std::string_view, Op> kOrders[] = {
      {"lt", Op::lt}, {"lte", Op::lte}, {"gt", Op::gt}, {"gte", Op::gte}};
  for (const auto& [word, op] : kOrders) {
    if (name != word) continue;
    if (auto done = set_place(into, op, name); !done) return done;
    return set_way(into, Way::number, name);
  }
  if (name == "base64" || name == "base64offset") {
    if (into.encoding != Encoding::none) return refused(name, "used twice");
    into.encoding = sigma && name == "base64" ? Encoding::base64 : Encoding::base64_offsets;
    return Done{};
  }
  if (sigma && (name == "m" || name == "s")) {
    if (into.way != Way::expression) return refused(name, "stands behind re");
    into.flags += name;
    return Done{};
  }
  constexpr std::array<std::string_view, 9> kSigmaOnly{"wide",   "utf16",  "utf16le", "utf16be", "windash",
                                                       "expand", "minute", "hour",    "day"};
  if (sigma && std::ranges::find(kSigmaOnly, name) != kSigmaOnly.end()) {
    return Error{Errc::unsupported, "modifier " + std::string(name)};
  }
  bool* const flag = name == "all"                    ? &into.all
                     : name == "not" || name == "neq" ? &into.invert
                     : name == "cased"                ? &into.cased
                     : name == "i"                    ? &into.uncased
                                                      : nullptr;
  if (flag == nullptr) return bad("no modifier is called \"" + std::string(name) + '"');
  if (*flag) return refused(name, "used twice");
  *flag = true;
  return Done{};
}

Status check_together(const Modifiers& of) {
  const bool text = of.way == Way::plain || of.way == Way::field;
  if (of.place != Op::equal && !text && of.way != Way::number)
    return bad("contains, startswith and endswith do not go with the other modifiers");
  if (of.encoding != Encoding::none && of.way != Way::plain)
    return bad("base64 does not go with the other modifiers");
  if (of.cased && of.uncased) return bad("cased and i exclude each other");
  if ((of.cased || of.uncased) && (of.way == Way::network || of.way == Way::number || of.way == Way::exists))
    return bad("cased and i are for text");
  if (of.way == Way::exists && (of.all || of.invert)) return bad("exists stands alone");
  return Done{};
}

Result<std::shared_ptr<const re2::RE2>> make_expression(const std::string& text, bool cased,
                                                        const std::string& flags, const Dialect& dialect) {
  if (text.size() > kMaxPatternBytes) return Error{Errc::limit, "expression too long"};
  if (dialect.expressions != nullptr && ++*dialect.expressions > kMaxExpressions)
    return Error{Errc::limit, "too many expressions in one file"};
  re2::RE2::Options options(re2::RE2::Latin1);  // evidence is bytes
  options.set_log_errors(false);
  options.set_max_mem(kExpressionMemoryBytes);
  options.set_case_sensitive(cased);
  options.set_never_capture(true);
  auto made = std::make_shared<re2::RE2>(flags.empty() ? text : "(?" + flags + ")" + text, options);
  if (!made->ok()) {
    // Of Sigma's dialect RE2 leaves out what takes more than linear time.
    const bool lacking = dialect.sigma && made->error_code() == re2::RE2::ErrorBadPerlOp;
    return Error{lacking ? Errc::unsupported : Errc::malformed, "expression: " + made->error()};
  }
  return std::shared_ptr<const re2::RE2>(std::move(made));
}

// Text with * and ?, a backslash in front of one of these or of itself taking away its meaning.
struct Wild {
  std::string quoted;  // as an expression
  std::string literal;
  bool open_begin = false;  // begins with *
  bool open_end = false;
  bool inside = false;  // * or ? elsewhere
};

Wild parse_wild(std::string_view text) {
  Wild wild;
  bool star = false;  // seen, not yet written
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '*') {
      star = true;
      continue;
    }
    if (star) {
      if (wild.quoted.empty()) {
        wild.open_begin = true;
      } else {
        wild.inside = true;
        wild.quoted += ".*";
      }
      star = false;
    }
    if (text[at] == '?') {
      wild.inside = true;
      wild.quoted += '.';
      continue;
    }
    if (text[at] == '\\' && at + 1 < text.size() &&
        (text[at + 1] == '*' || text[at + 1] == '?' || text[at + 1] == '\\'))
      ++at;
    wild.literal += text[at];
    wild.quoted += re2::RE2::QuoteMeta(std::string(1, text[at]));
  }
  if (star) (wild.quoted.empty() ? wild.open_begin : wild.open_end) = true;
  if (wild.quoted.empty() && wild.open_begin) wild.open_end = true;
  return wild;
}

Result<Pattern> compile_wild(const std::string& text, Op place, bool fold, const Dialect& dialect) {
  if (text.size() > kMaxPatternBytes) return Error{Errc::limit, "value too long"};
  Wild wild = parse_wild(fold ? lower(text) : text);
  wild.open_begin |= place == Op::contains || place == Op::ends;
  wild.open_end |= place == Op::contains || place == Op::starts;
  Pattern pattern;
  pattern.fold = fold;
  if (!wild.inside) {
    pattern.op = wild.open_begin ? (wild.open_end ? Op::contains : Op::ends)
                                 : (wild.open_end ? Op::starts : Op::equal);
    pattern.text = std::move(wild.literal);
    return pattern;
  }
  const std::string expression = (wild.open_begin ? "" : "\\A") + wild.quoted + (wild.open_end ? "" : "\\z");
  auto made = make_expression(expression, true, "s", dialect);
  if (!made) return std::move(made).error();
  pattern.op = Op::expression;
  pattern.expression = *std::move(made);
  return pattern;
}

// What base64 of any text with `value` in it has, for each of the three places it may begin at: the
// characters that its neighbours have no part in.
std::string base64_anywhere(const std::string& value) {
  std::string either;
  constexpr std::array<std::size_t, 3> kFirst{0, 2, 3};
  constexpr std::array<std::size_t, 3> kLast{0, 3, 2};
  for (std::size_t offset = 0; offset < 3; ++offset) {
    const std::string whole = to_base64(std::string(offset, ' ') + value);
    const std::size_t end = whole.size() - kLast[(value.size() + offset) % 3];
    if (end <= kFirst[offset]) continue;
    if (!either.empty()) either += '|';
    either += re2::RE2::QuoteMeta(whole.substr(kFirst[offset], end - kFirst[offset]));
  }
  return either;
}

class Compiler {
 public:
  Compiler(const Modifiers& of, const Dialect& dialect) : of_(of), dialect_(dialect) {}

  Result<Pattern> compile(const Value& value) {
    using Kind = Value::Kind;
    if (value.is(Kind::list) || value.is(Kind::map) || value.is(Kind::fraction))
      return bad("a value is a string, an integer, a boolean or null");
    if (value.is(Kind::null)) {
      if (of_.way != Way::plain || of_.place != Op::equal || of_.encoding != Encoding::none)
        return bad("null has no modifiers but not and all");
      Pattern pattern;
      pattern.op = Op::absent;
      return pattern;
    }
    const bool open = of_.place != Op::equal || of_.encoding != Encoding::none;
    if (value.text.empty() && open) return bad("an empty value would match everything");
    switch (of_.way) {
      case Way::expression:
        return expression(value);
      case Way::network:
        return network(value);
      case Way::number:
        return number(value);
      case Way::field:
        return field(value);
      case Way::glob:
        return compile_wild(value.text, Op::equal, of_.uncased, dialect_);
      default:
        return plain(value);
    }
  }

 private:
  Result<Pattern> expression(const Value& value) {
    if (!value.is(Value::Kind::text) || value.text.empty()) return bad("an expression is a string");
    auto made = make_expression(value.text, !of_.uncased, of_.flags, dialect_);
    if (!made) return std::move(made).error();
    Pattern pattern;
    pattern.op = Op::expression;
    pattern.expression = *std::move(made);
    return pattern;
  }
  Result<Pattern> network(const Value& value) {
    const auto parsed = parse_network(value.text);
    if (!parsed) return bad("\"" + value.text + "\" is not a network such as 10.0.0.0/8 or fd00::/8");
    Pattern pattern;
    pattern.op = Op::network;
    pattern.network = *parsed;
    return pattern;
  }
  Result<Pattern> number(const Value& value) {
    if (!parse_whole(value.text)) return bad("\"" + value.text + "\" is not a whole number");
    Pattern pattern;
    pattern.op = of_.place;
    pattern.text = value.text;
    return pattern;
  }
  Result<Pattern> field(const Value& value) {
    const auto path = value.is(Value::Kind::text) ? dialect_.field(value.text) : std::nullopt;
    if (!path) {
      return Error{dialect_.sigma ? Errc::unsupported : Errc::malformed,
                   "fieldref: no field is called \"" + value.text + '"'};
    }
    Pattern pattern;
    pattern.op = of_.place;
    pattern.field = *path;
    pattern.fold = is_folded();
    return pattern;
  }
  Result<Pattern> plain(const Value& value) {
    if (of_.encoding == Encoding::base64_offsets) {
      auto made = make_expression(base64_anywhere(value.text), true, "", dialect_);
      if (!made) return std::move(made).error();
      Pattern pattern;
      pattern.op = Op::expression;
      pattern.expression = *std::move(made);
      return pattern;
    }
    Pattern pattern;
    pattern.op = of_.place;
    if (of_.encoding == Encoding::base64) {
      pattern.text = to_base64(value.text);
      return pattern;
    }
    if (dialect_.sigma) return compile_wild(value.text, of_.place, is_folded(), dialect_);
    pattern.fold = is_folded();
    pattern.text = pattern.fold ? lower(value.text) : value.text;
    return pattern;
  }
  [[nodiscard]] bool is_folded() const { return dialect_.sigma ? !of_.cased : of_.uncased; }

  const Modifiers& of_;
  const Dialect& dialect_;
};

}  // namespace

Result<FieldTest> compile_test(std::string path, const std::vector<std::string_view>& modifiers,
                               const Value& wanted, const Dialect& dialect) {
  Modifiers of;
  for (const std::string_view name : modifiers) {
    if (auto done = take_modifier(of, name, dialect.sigma); !done) return std::move(done).error();
  }
  if (auto done = check_together(of); !done) return std::move(done).error();
  FieldTest test;
  test.path = std::move(path);
  test.all = of.all;
  test.invert = of.invert;
  if (of.way == Way::exists) {
    if (!wanted.is(Value::Kind::boolean)) return bad("exists is true or false");
    test.exists = wanted.text == "true";
    return test;
  }
  Compiler compiler(of, dialect);
  if (!wanted.is(Value::Kind::list)) {
    auto pattern = compiler.compile(wanted);
    if (!pattern) return std::move(pattern).error();
    test.patterns.push_back(*std::move(pattern));
    return test;
  }
  if (wanted.items.empty()) return bad("empty list: it would match nothing");
  if (wanted.items.size() > kMaxValues) return Error{Errc::limit, "too many values"};
  for (const Value& value : wanted.items) {
    auto pattern = compiler.compile(value);
    if (!pattern) return std::move(pattern).error();
    test.patterns.push_back(*std::move(pattern));
  }
  return test;
}

}  // namespace ctriage::rules
