#pragma once
// A directory tree that is no layer: a tmpfs of the container, a volume. Overlay's own marks mean nothing in
// it, and there is no image to compare it with.
#include <functional>
#include <string>
#include <string_view>

#include "lib/core/root.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {

constexpr std::size_t kMaxPlainLevels = 128;  // of directories that are followed: each is a descriptor

// What of a name is given to the visitor. A directory is entered all the same, but for `outside`.
enum class Part : std::uint8_t {
  whole,    // what it is, and its bytes
  program,  // of a regular file its bytes if it is a program: ELF, #! or execute permission
  state,    // what it is; it is not opened
  nothing,  // in this walk
  outside,  // and what is below it is not looked at
};
struct Wish {
  Part part = Part::whole;
  std::string_view why = {};  // FileChange::partial of a regular file whose bytes are left
};

struct PlainTree {
  const Root& top;
  Root::AccessTimes touched;  // Root::count_access_times of the directories below
  std::string container;
  // Whether a mount at this path of the tree is one that is known, and told elsewhere.
  std::function<bool(std::string_view path)> is_known_mount;
  // Empty: all of everything. What is no directory and no regular file has no bytes: whole and program are
  // the same.
  std::function<Wish(std::string_view path, const FileInfo& info)> wish = {};
  std::uint64_t most_names = UINT64_MAX;  // that are looked at; then the walk ends with a lost gap
};

// Every name on the mount of `top`, once, in canonical order, as an added FileChange; its path begins at the
// tree ("/" first). The visitor's calls are those of walk(). No link is followed, nothing but regular files
// is opened, what is mounted below is not even asked for its stat. Errors: those of the visitor, and stopped
// or timeout. Everything else is a gap.
Status walk_plain(const PlainTree& tree, Visitor& visitor, Task& task);
// The same of one regular file that is a mount by itself; `path` is what it is called.
Status take_plain_file(const PlainTree& tree, int pinned, const std::string& path, Visitor& visitor,
                       Task& task);

}  // namespace ctriage::overlay
