#pragma once
// Files, what changed about them, and the layers they lie in.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/content.h"
#include "lib/model/fields.h"

namespace ctriage {

enum class FileType : std::uint8_t { regular, directory, symlink, character, block, fifo, socket, unknown };
constexpr auto enum_names(FileType) {
  return std::array<std::string_view, 8>{"regular", "directory", "symlink", "character",
                                         "block",   "fifo",      "socket",  "unknown"};
}

struct XattrRecord {
  Bytes name;
  Bytes value;
  std::optional<std::string> left_out;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "with its namespace: security.capability");
    v("value", self.value, "any bytes");
    v("left_out", self.left_out, "size and SHA-256 of a value that is not kept: too much on one inode");
  }
};

struct FileState {  // one inode as one layer has it
  FileType type = FileType::unknown;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  Hex inode;
  Hex rdev;
  Timestamp mtime;
  Timestamp atime;
  Timestamp ctime;
  std::optional<Timestamp> btime;
  std::optional<Bytes> link_target;
  std::vector<XattrRecord> xattrs;
  std::optional<std::string> sha256;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("type", self.type, "what the inode is");
    v("mode", self.mode, "permission bits with setuid, setgid and sticky, decimal");
    if constexpr (std::is_const_v<Self>) {  // for people and rules: written from mode, never read back
      const bool setuid = (self.mode & 04000U) != 0;
      const bool setgid = (self.mode & 02000U) != 0;
      v("setuid", setuid, "mode says: runs as its owner");
      v("setgid", setgid, "mode says: runs as its group");
    }
    v("uid", self.uid, "owner as the layer stores it");
    v("gid", self.gid, "group as the layer stores it");
    v("nlink", self.nlink, "names of the inode");
    v("size_bytes", self.size_bytes, "apparent size");
    v("allocated_bytes", self.allocated_bytes, "blocks in use; smaller than size: sparse");
    v("inode", self.inode, "inode number in the layer's file system");
    v("rdev", self.rdev, "device number of character and block devices: major << 32 | minor");
    v("mtime", self.mtime, "content changed (can be set by the owner)");
    v("atime", self.atime, "last read, as mount options allow");
    v("ctime", self.ctime, "inode changed (cannot be set)");
    v("btime", self.btime, "inode created: when the file was made or copied up (cannot be set)");
    v("link_target", self.link_target, "of a symbolic link");
    v("xattrs", self.xattrs, "all extended attributes, overlay's own too");
    v("sha256", self.sha256, "of the content, regular files only");
  }
};

enum class ChangeKind : std::uint8_t {
  added,         // the image has no such name
  content,       // the image has other bytes there
  metadata,      // same bytes, other owner, mode, times or xattrs
  unchanged,     // copied up, nothing differs
  type,          // the image has something of another type there
  deleted,       // whiteout: the image's name is gone
  opaque,        // directory made anew: what the image had below is hidden
  runtime_stub,  // empty file or directory the runtime made to mount over
  unknown,       // overlay semantics that this version does not interpret; never a guess
  renamed,       // the image has it under another name, with the same bytes
};
constexpr auto enum_names(ChangeKind) {
  return std::array<std::string_view, 10>{"added",   "content", "metadata",     "unchanged", "type",
                                          "deleted", "opaque",  "runtime_stub", "unknown",   "renamed"};
}

struct FileChange {  // one name in the UpperDir against the composed lower layers
  std::string container;
  Bytes path;  // in the container, begins with "/"
  ChangeKind kind = ChangeKind::unknown;
  std::optional<FileState> before;
  std::optional<FileState> after;
  std::optional<std::uint32_t> layer;  // 1 is the image's lowest
  std::optional<std::string> layer_digest;
  std::optional<Bytes> layer_made_by;
  std::optional<Bytes> hard_link_of;
  std::optional<Bytes> renamed_from;
  std::optional<Bytes> hidden_by;
  std::vector<std::string> differs;
  bool program = false;
  std::optional<Content> content;
  std::optional<PackageOwner> package;
  std::optional<std::string> tool;
  std::optional<std::string> explained;
  std::optional<std::string> partial;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("path", self.path, "in the container");
    v("kind", self.kind, "what happened to the name");
    v("before", self.before, "the image's file, where it has one");
    v("after", self.after, "the file now, where there is one");
    v("layer", self.layer, "which layer `before` lies in; 1 is the image's lowest");
    v("layer_digest", self.layer_digest, "its diff id, where the image's configuration is known");
    v("layer_made_by", self.layer_made_by, "the line of the image's history that made it");
    v("hard_link_of", self.hard_link_of, "another name of the same inode that was taken already");
    v("renamed_from", self.renamed_from, "what the image calls it, where `before` lies: overlay's redirect");
    v("hidden_by", self.hidden_by,
      "the whiteout, opaque directory or other file above that deleted it: it has no entry of its own in the "
      "UpperDir");
    v("differs", self.differs, "content, mode, owner, mtime, xattrs, target, size, type");
    v("program", self.program, "ELF or #! or execute permission");
    v("content", self.content, "what the file now is by its bytes, where they were looked at");
    v("package", self.package, "the package of the image that has a file of this name");
    v("tool", self.tool, "which tool of an operating system it is: sh, curl, nc");
    v("explained", self.explained, "why this change needs no look");
    v("partial", self.partial, "why the bytes taken are not all of them");
  }
};

struct Layer {
  std::string container;
  std::uint32_t number = 0;
  bool upper = false;
  Bytes path;
  bool readable = false;
  std::optional<std::string> digest;
  std::optional<Bytes> made_by;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("number", self.number, "1 is the image's lowest, the UpperDir is the highest");
    v("upper", self.upper, "the UpperDir");
    v("path", self.path, "on the node, as overlayfs was told");
    v("readable", self.readable, "we could open it");
    v("digest", self.digest, "diff id: SHA-256 of the layer's tar, as the image's configuration has it");
    v("made_by", self.made_by, "the line of the image's history that made it");
  }
};

struct LogFile {
  std::string container;
  Bytes path;
  std::uint64_t size_bytes = 0;
  Timestamp mtime;
  std::string stream;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("path", self.path, "on the node");
    v("size_bytes", self.size_bytes, "when first seen: that much is taken");
    v("mtime", self.mtime, "last written");
    v("stream", self.stream, "the member of the bundle that holds it");
  }
};

}  // namespace ctriage
