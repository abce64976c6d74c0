#pragma once
// Files that lie beside the layers: in a tmpfs or a volume of the container.
#include <cstdint>
#include <optional>
#include <string>

#include "lib/model/file.h"

namespace ctriage {

struct TreeFile {
  std::string container;
  Bytes mount;
  Bytes path;
  FileState file;
  std::optional<Bytes> hard_link_of;
  bool program = false;
  std::optional<std::string> partial;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("mount", self.mount, "mount point of the tree in the container");
    v("path", self.path, "in the container");
    v("file", self.file, "what lies there");
    v("hard_link_of", self.hard_link_of, "another name of the same inode that was taken already");
    v("program", self.program, "ELF or #! or execute permission");
    v("partial", self.partial, "why the bytes taken are not all of them");
  }
};

// A file as `ls` shows it.
struct FileEntry {
  std::string container;
  Bytes path;
  std::optional<std::uint32_t> layer;
  FileState file;
  std::optional<std::string> partial;
  std::optional<std::string> gone;
  std::optional<Bytes> stored_in;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("path", self.path, "in the container, links on the way followed");
    v("layer", self.layer,
      "which layer it lies in; 1 is the image's lowest; absent: not recorded, or in a tmpfs");
    v("file", self.file, "what lies there");
    v("partial", self.partial, "why the bytes taken are not all of them");
    v("gone", self.gone,
      "what is not there any more: whiteout, the image's file was deleted and nothing lies here; opaque, "
      "what "
      "the image had below this directory is hidden; unlinked, it had no name and a process had it open");
    v("stored_in", self.stored_in, "of a checkpoint: the file of the archive that has it");
  }
};

// Which file is meant. The same path can lie in several layers with other bytes in each.
struct FileKey {
  std::string container;
  std::string layer = "merged";  // as the container sees it; "image", "upper", or a number, Layer::number
  std::string path;              // absolute
  bool follow = true;            // a link that the path ends in
};

}  // namespace ctriage
