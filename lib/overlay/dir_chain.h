#pragma once
// The directories on the way down in one tree, which may be deeper than we have descriptors and longer than
// PATH_MAX: only some levels stay open, and the others are opened again, one name at a time, from the nearest
// that is. Private to lib/overlay.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"

namespace ctriage::overlay {

class DirChain {
 public:
  // `top` stays with the caller. The last `keep_last` levels and every kKeepEvery-th stay open.
  DirChain(const Root& top, std::size_t keep_last) : top_(&top), keep_last_(keep_last) {}

  // One level down; Errc::changed when the name is another inode than `expected` now. Nothing changes on
  // error.
  Status enter(std::string_view name, const FileInfo& expected);
  void leave();
  // Where we are. Errc::vanished or changed when a directory on the way is no longer what it was.
  Result<const Root*> here();

 private:
  static constexpr std::size_t kKeepEvery = 64;
  struct Level {
    std::string name;
    std::uint64_t inode = 0;
    std::uint32_t dev_major = 0;
    std::uint32_t dev_minor = 0;
    std::optional<Root> dir;
  };
  void let_go();

  const Root* top_;
  std::size_t keep_last_;
  std::vector<Level> levels_;
};

}  // namespace ctriage::overlay
