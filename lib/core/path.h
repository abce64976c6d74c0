#pragma once
// Paths as text: absolute, with one '/' between names, but for directory_of(). No file is looked at.
#include <string>
#include <string_view>

namespace ctriage {

// "/a" is at or below "/a" and "/"; "/ab" is not below "/a". Nothing is below "".
bool is_at_or_below(std::string_view path, std::string_view directory);
// "/a/b" of "/a/b/c", "/" of "/a" and of "/".
std::string parent_of(std::string_view path);
// Of a path as it was typed: "a" of "a/b", "." of "b".
std::string directory_of(const std::string& typed);
// In a directory as it was typed: "a/b" of "a" and of "a/".
std::string name_in(const std::string& typed, std::string_view name);
// "/a/b", and "/b" in "/".
std::string child_of(std::string_view directory, std::string_view name);

}  // namespace ctriage
