#include "lib/source/disk.h"

#include "lib/core/limits.h"
#include "lib/core/sandbox.h"
#include "lib/core/text.h"

namespace ctriage::source {

Result<Disk> open_disk(const std::string& directory, Task& task) {
  auto root = Root::open(directory);
  if (!root) return std::move(root).error().within("--root");
  if (auto inside = enter_sandbox({.confine_files = false, .may_clone = true}, task.gaps); !inside)
    return std::move(inside).error();
  const auto name = root->read_file_in_root("etc/hostname", kMaxLineBytes);
  return Disk{*std::move(root), Bytes(name ? std::string(trim(*name)) : directory)};
}

Bytes os_name(const Root& node) {
  constexpr std::string_view kKey = "PRETTY_NAME=";
  const auto text = node.read_file_in_root("etc/os-release", kMaxJsonLineBytes);
  if (!text) return {};
  for (const std::string_view line : split(*text, '\n')) {
    if (!line.starts_with(kKey)) continue;
    std::string_view value = line.substr(kKey.size());
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    return Bytes(std::string(value));
  }
  return {};
}

}  // namespace ctriage::source
