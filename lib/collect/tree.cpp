#include "lib/collect/tree.h"

#include "lib/source/live/trees.h"

namespace ctriage::collect {

Status TakeTree::change(FileChange&& change) {
  return in_.write(files_, source::tree_file_of(std::move(change), mount_));
}

std::string stem_of(std::string_view folder, std::string_view mountpoint) {
  return std::string(folder) + "/" + bundle::member_name(mountpoint.substr(1));
}

}  // namespace ctriage::collect
