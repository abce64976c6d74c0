#pragma once
// rules/*.json as bytes of this program; defined in a file that embed.cmake writes at build time.
#include <span>
#include <string_view>

namespace ctriage::rules {

struct EmbeddedFile {
  std::string_view name;  // "process.json"
  std::string_view json;
};
std::span<const EmbeddedFile> embedded_files();

// What rules refer to and is no rule: os-tools.json, places.json (lib/verdict/knowledge.h).
bool is_data(std::string_view name);
// Empty: no such file.
std::string_view embedded_data(std::string_view name);

}  // namespace ctriage::rules
