#include "lib/core/path.h"

namespace ctriage {

bool is_at_or_below(std::string_view path, std::string_view directory) {
  if (directory.empty() || !path.starts_with(directory)) return false;
  return path.size() == directory.size() || path[directory.size()] == '/' || directory.back() == '/';
}

std::string parent_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? "/" : std::string(path.substr(0, slash));
}

std::string directory_of(const std::string& typed) {
  return typed.find('/') == std::string::npos ? "." : parent_of(typed);
}

std::string name_in(const std::string& typed, std::string_view name) {
  return (typed + (typed.ends_with('/') ? "" : "/")).append(name);
}

std::string child_of(std::string_view directory, std::string_view name) {
  return std::string(directory == "/" ? "" : directory).append("/").append(name);
}

}  // namespace ctriage
