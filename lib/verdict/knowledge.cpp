#include "lib/verdict/knowledge.h"

#include <algorithm>

#include "lib/rules/embedded.h"

namespace ctriage::verdict {
namespace {

// "python3.11" -> "python3" -> "python", "perl5.36.0" -> "perl5" -> "perl".
std::string_view without_version(std::string_view name) {
  const auto end = name.find_last_not_of("0123456789.-");
  return end == name.npos ? name : name.substr(0, end + 1);
}

// One step of it.
std::string_view less_version(std::string_view name) {
  const std::string_view plain = without_version(name);
  const auto dot = name.rfind('.');
  return dot == name.npos || dot < plain.size() ? plain : name.substr(0, dot);
}

bool has_name(const std::vector<std::string>& names, std::string_view path) {
  const std::string_view name = base_name(path);
  const std::string_view plain = without_version(name);
  return std::ranges::any_of(names, [&](const std::string& each) { return each == name || each == plain; });
}

}  // namespace

bool fits_glob(std::string_view pattern, std::string_view path) {
  struct Back {
    std::size_t pattern = std::string_view::npos;  // behind the stars
    std::size_t path = 0;                          // where they end at present
  };
  Back any;  // of **
  Back one;  // of *
  std::size_t p = 0;
  std::size_t s = 0;
  while (s < path.size() || p < pattern.size()) {
    if (pattern.substr(p).starts_with("**")) {
      p += 2;
      any = {p, s};
      one = {};
    } else if (p < pattern.size() && pattern[p] == '*') {
      one = {++p, s};
    } else if (p < pattern.size() && s < path.size() && pattern[p] == path[s]) {
      ++p;
      ++s;
    } else if (one.pattern != std::string_view::npos && one.path < path.size() && path[one.path] != '/') {
      p = one.pattern;
      s = ++one.path;
    } else if (any.pattern != std::string_view::npos && any.path < path.size()) {
      p = any.pattern;
      s = ++any.path;
      one = {};
    } else {
      return false;
    }
  }
  return true;
}

std::string_view base_name(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

Result<Knowledge> Knowledge::builtin() {
  return parse(rules::embedded_data("os-tools.json"), rules::embedded_data("places.json"));
}

std::optional<Knowledge::Tool> Knowledge::find_tool(std::string_view path) const {
  const std::string_view name = base_name(path);
  for (std::string_view each = name;;) {
    const auto at = std::ranges::lower_bound(tools_, each, {}, &Names::value_type::first);
    if (at != tools_.end() && at->first == each) return Tool{at->first, at->second};
    const std::string_view shorter = less_version(each);
    if (shorter == each) return std::nullopt;
    each = shorter;
  }
}

bool Knowledge::is_multicall(std::string_view path) const { return has_name(multicall_, path); }

bool Knowledge::is_just_in_time(std::string_view path) const { return has_name(just_in_time_, path); }

bool Knowledge::is_kernel_thread_name(std::string_view name) const {
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  return std::ranges::any_of(kernel_threads_,
                             [name](const std::string& begin) { return name.starts_with(begin); });
}

std::string_view Knowledge::first_fit(const Globs& globs, std::string_view path) {
  for (const auto& [glob, answer] : globs) {
    if (fits_glob(glob, path)) return answer;
  }
  return {};
}

std::string_view Knowledge::place_of(std::string_view path) const { return first_fit(places_, path); }
std::string_view Knowledge::reason_of(std::string_view path) const { return first_fit(reasons_, path); }

}  // namespace ctriage::verdict
