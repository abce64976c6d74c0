#include "lib/overlay/dir_chain.h"

#include <algorithm>

namespace ctriage::overlay {
namespace {

// A directory below, called by its own name only: names of 32,768 nested directories would be gigabytes.
Result<Root> step_down(const Root& from, std::string_view name) {
  auto below = from.descend(name);
  if (below) below->call(std::string(name));
  return below;
}

}  // namespace

Status DirChain::enter(std::string_view name, const FileInfo& expected) {
  auto from = here();
  if (!from) return std::move(from).error();
  auto below = step_down(**from, name);
  if (!below) return std::move(below).error();
  auto info = file_info(below->fd(), name);
  if (!info) return std::move(info).error();
  if (!info->same_inode(expected)) {
    return Error{Errc::changed, std::string(name) + ": replaced by another directory"};
  }
  levels_.push_back({std::string(name), info->inode, info->dev_major, info->dev_minor, *std::move(below)});
  let_go();
  return Done{};
}

void DirChain::leave() { levels_.pop_back(); }

void DirChain::let_go() {
  // Those just outside the window; here() may have opened up to kKeepEvery of them.
  std::size_t looked_at = 0;
  for (std::size_t i = levels_.size(); i > 0 && looked_at <= keep_last_ + kKeepEvery; --i, ++looked_at) {
    if (looked_at >= keep_last_ && (i - 1) % kKeepEvery != 0) levels_[i - 1].dir.reset();
  }
}

Result<const Root*> DirChain::here() {
  if (levels_.empty()) return top_;
  if (levels_.back().dir) return &*levels_.back().dir;
  std::size_t first_closed = levels_.size();
  while (first_closed > 0 && !levels_[first_closed - 1].dir) --first_closed;
  for (std::size_t i = first_closed; i < levels_.size(); ++i) {
    Level& level = levels_[i];
    auto below = step_down(i == 0 ? *top_ : *levels_[i - 1].dir, level.name);
    if (!below) return std::move(below).error();
    auto info = file_info(below->fd(), level.name);
    if (!info) return std::move(info).error();
    if (info->inode != level.inode || info->dev_major != level.dev_major ||
        info->dev_minor != level.dev_minor) {
      return Error{Errc::changed, level.name + ": replaced by another directory"};
    }
    level.dir = *std::move(below);
  }
  let_go();
  return &*levels_.back().dir;
}

}  // namespace ctriage::overlay
