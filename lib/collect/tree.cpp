#include "lib/collect/tree.h"

#include "lib/core/path.h"

namespace ctriage::collect {

Status TakeTree::change(FileChange&& change) {
  TreeFile found;
  found.container = std::move(change.container);
  found.mount = Bytes(mount_);
  found.path = Bytes(in_container(change.path.raw));
  if (change.after) found.file = *std::move(change.after);
  if (change.hard_link_of) found.hard_link_of = Bytes(in_container(change.hard_link_of->raw));
  found.program = change.program;
  found.partial = std::move(change.partial);
  return in_.write(files_, found);
}

std::string TakeTree::in_container(const std::string& path) const {
  if (mount_ == "/") return path;
  return path == "/" ? mount_ : mount_ + path;
}

std::string top_of(const std::string& mountpoint, bool directory) {
  return directory ? mountpoint : parent_of(mountpoint);
}

std::string stem_of(std::string_view folder, std::string_view mountpoint) {
  return std::string(folder) + "/" + bundle::member_name(mountpoint.substr(1));
}

}  // namespace ctriage::collect
