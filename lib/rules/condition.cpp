// condition := term { "or" term }
// term      := factor { "and" factor }
// factor    := "not" factor | "(" condition ")" | ("1" | "any" | "all") "of" ("them" | PATTERN) | NAME
// PATTERN is a name with * in it; "them" is all names that do not begin with _.
#include "lib/rules/condition.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace ctriage::rules {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// * stands for any number of characters. Names are short.
bool is_like(std::string_view name, std::string_view pattern) {
  std::size_t at = 0;
  std::size_t star = std::string_view::npos;  // the last one seen, and what of the name it took
  std::size_t taken = 0;
  std::size_t in = 0;
  while (in < name.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      taken = in;
    } else if (at < pattern.size() && pattern[at] == name[in]) {
      ++at;
      ++in;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      in = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

class Parser {
 public:
  Parser(std::string_view text, std::span<const Selection> selections)
      : text_(text), selections_(selections) {
    advance();
  }

  Result<std::vector<Node>> run() {
    auto root = parse_either(0);
    if (!root) return std::move(root).error();
    if (!token_.empty()) return unexpected("and, or, or the end");
    return std::move(nodes_);
  }

 private:
  void advance() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
    begin_ = at_;
    if (at_ < text_.size() && (text_[at_] == '(' || text_[at_] == ')')) {
      ++at_;
    } else {
      while (at_ < text_.size() && !is_blank(text_[at_]) && text_[at_] != '(' && text_[at_] != ')') ++at_;
    }
    token_ = text_.substr(begin_, at_ - begin_);
  }

  [[nodiscard]] Error unexpected(std::string_view wanted) const {
    std::string what = "expected " + std::string(wanted) + " at byte " + std::to_string(begin_);
    what += token_.empty() ? std::string(", the condition ends") : ", found \"" + std::string(token_) + '"';
    return Error{Errc::malformed, std::move(what)};
  }

  std::size_t add(Node node) {
    nodes_.push_back(node);
    return nodes_.size() - 1;
  }

  Result<std::size_t> parse_either(std::size_t depth) {
    auto left = parse_both(depth);
    while (left && token_ == "or") {
      advance();
      auto right = parse_both(depth);
      if (!right) return right;
      left = add({Node::Op::either, *left, *right});
    }
    return left;
  }

  Result<std::size_t> parse_both(std::size_t depth) {
    auto left = parse_factor(depth);
    while (left && token_ == "and") {
      advance();
      auto right = parse_factor(depth);
      if (!right) return right;
      left = add({Node::Op::both, *left, *right});
    }
    return left;
  }

  Result<std::size_t> parse_factor(std::size_t depth) {
    if (depth > kMaxConditionDepth) return Error{Errc::limit, "nested too deeply"};
    if (token_ == "not") {
      advance();
      auto inner = parse_factor(depth + 1);
      if (!inner) return inner;
      return add({Node::Op::invert, *inner, 0});
    }
    if (token_ == "(") {
      advance();
      auto inner = parse_either(depth + 1);
      if (!inner) return inner;
      if (token_ != ")") return unexpected("\")\"");
      advance();
      return inner;
    }
    if (token_.empty() || token_ == ")" || token_ == "and" || token_ == "or")
      return unexpected("a selection");
    if (token_ == "1" || token_ == "any" || token_ == "all") {
      if (next_is_of()) return parse_several();
    }
    const auto named = std::ranges::find(selections_, token_, &Selection::name);
    if (named == selections_.end()) {
      return Error{Errc::malformed, "no selection is called \"" + std::string(token_) + '"'};
    }
    advance();
    return add({Node::Op::select, static_cast<std::size_t>(named - selections_.begin()), 0});
  }

  // "1 of": `of` is the next word. The token stays.
  [[nodiscard]] bool next_is_of() const {
    std::size_t at = at_;
    while (at < text_.size() && is_blank(text_[at])) ++at;
    const std::string_view rest = text_.substr(at);
    return rest.starts_with("of") && rest.size() > 2 && is_blank(rest[2]);
  }

  Result<std::size_t> parse_several() {
    const Node::Op op = token_ == "all" ? Node::Op::both : Node::Op::either;
    advance();
    advance();
    if (token_.empty() || token_ == "(" || token_ == ")") return unexpected("them or a name with *");
    std::optional<std::size_t> joined;
    for (std::size_t i = 0; i < selections_.size(); ++i) {
      const std::string_view name = selections_[i].name;
      if (token_ == "them" ? name.starts_with('_') : !is_like(name, token_)) continue;
      const std::size_t one = add({Node::Op::select, i, 0});
      joined = joined ? add({op, *joined, one}) : one;
      if (nodes_.size() > kMaxConditionNodes) return Error{Errc::limit, "too many selections in it"};
    }
    if (!joined) return Error{Errc::malformed, "no selection is called \"" + std::string(token_) + '"'};
    advance();
    return *joined;
  }

  std::string_view text_;
  std::span<const Selection> selections_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
  std::string_view token_;  // empty: the end
  std::vector<Node> nodes_;
};

// Depth is bounded by the number of nodes, that by kMaxConditionBytes.
bool is_node_met(std::span<const Node> nodes, std::size_t index,
                 const std::function<bool(std::size_t)>& holds) {
  const Node& node = nodes[index];
  switch (node.op) {
    case Node::Op::select:
      return holds(node.left);
    case Node::Op::invert:
      return !is_node_met(nodes, node.left, holds);
    case Node::Op::both:
      return is_node_met(nodes, node.left, holds) && is_node_met(nodes, node.right, holds);
    case Node::Op::either:
      return is_node_met(nodes, node.left, holds) || is_node_met(nodes, node.right, holds);
  }
  return false;
}

}  // namespace

Result<std::vector<Node>> parse_condition(std::string_view text, std::span<const Selection> selections) {
  if (text.size() > kMaxConditionBytes) {
    return Error{Errc::limit, "longer than " + std::to_string(kMaxConditionBytes) + " bytes"};
  }
  return Parser(text, selections).run();
}

bool is_met(std::span<const Node> condition, const std::function<bool(std::size_t)>& holds) {
  return !condition.empty() && is_node_met(condition, condition.size() - 1, holds);
}

}  // namespace ctriage::rules
