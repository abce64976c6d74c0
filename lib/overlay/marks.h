#pragma once
// What overlayfs itself noted on an inode of a layer: in xattrs "trusted.overlay.*" or, on mounts with
// userxattr, "user.overlay.*". Private to lib/overlay; meanings: SEMANTICS.md.
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"

namespace ctriage::overlay {

constexpr std::string_view kTrustedPrefix = "trusted.overlay.";
constexpr std::string_view kUserPrefix = "user.overlay.";
// fuse-overlayfs's own, which heeds the other two as well; and files that say what it has no device or xattr
// for.
constexpr std::string_view kFusePrefix = "user.fuseoverlayfs.";
constexpr std::string_view kWhiteoutFile = ".wh.";  // and the name that is gone
constexpr std::string_view kOpaqueFile = ".wh..wh..opq";

struct Marks {
  bool whiteout = false;  // the name is gone
  bool opaque = false;    // a directory: nothing of it below this layer counts
  bool metacopy = false;  // a regular file: owner, mode and times only, its bytes lie below
  // A directory or a metacopy file: what the layers below call it. "name" in the same directory, or
  // "/a/path" from the top; empty: the same.
  std::string redirect;
};

// Errc::unsupported for values that no kernel up to 6.18 writes, malformed for a redirect that it would
// refuse.
Result<Marks> read_marks(const FileInfo& info, const std::vector<Xattr>& xattrs, std::string_view prefix);

// Whether `name` is an xattr that overlay keeps for itself and that no file of the container has.
bool is_bookkeeping(std::string_view name, std::string_view prefix);

// The whiteout that needs no xattr: a character device 0:0.
bool is_whiteout_device(const FileInfo& info);

}  // namespace ctriage::overlay
