#include "lib/rules/template.h"

namespace ctriage::rules {

Status check_template(std::string_view text, const std::function<bool(std::string_view)>& known) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '}') return Error{Errc::malformed, "} without { at byte " + std::to_string(at)};
    if (text[at] != '{') continue;
    const std::size_t end = text.find_first_of("{}", at + 1);
    if (end == std::string_view::npos || text[end] == '{') {
      return Error{Errc::malformed, "{ without } at byte " + std::to_string(at)};
    }
    const std::string_view name = text.substr(at + 1, end - at - 1);
    if (!known(name)) return Error{Errc::malformed, "no field is called \"" + std::string(name) + '"'};
    at = end;
  }
  return Done{};
}

std::string fill_template(std::string_view text, const std::function<std::string(std::string_view)>& value) {
  std::string out;
  while (!text.empty()) {
    const std::size_t open = text.find('{');
    const std::size_t close = open == std::string_view::npos ? open : text.find('}', open);
    if (close == std::string_view::npos) return out.append(text);
    out.append(text.substr(0, open));
    out += value(text.substr(open + 1, close - open - 1));
    text.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace ctriage::rules
