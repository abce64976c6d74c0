#pragma once
// What Held keeps: private to lib/overlay.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/overlay/overlay.h"

namespace ctriage::overlay {

struct HeldEntry {
  // Attributes of an inode without content, read at once where no descriptor was left to keep it.
  struct Saved {
    std::vector<Xattr> xattrs;
    std::string target;
  };
  std::uint32_t parent = 0;  // number of the directory it lies in; the top is 1 and lies in 0
  std::uint32_t number = 0;  // of a directory
  bool listed = false;       // a directory: all names it had are held entries
  std::string name;
  FileInfo info;
  UniqueFd fd;  // open for reading for regular files, O_PATH for the rest
  std::unique_ptr<Saved> saved;
};

struct Held::State {
  std::vector<HeldEntry> entries;  // in order of parent and name
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  bool complete = false;

  [[nodiscard]] std::span<const HeldEntry> children(std::uint32_t directory) const;
};

}  // namespace ctriage::overlay
