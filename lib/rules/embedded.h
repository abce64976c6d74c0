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

}  // namespace ctriage::rules
