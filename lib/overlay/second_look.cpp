#include "lib/overlay/second_look.h"

#include <algorithm>

#include "lib/overlay/dir_chain.h"
#include "lib/overlay/marks.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kMaxTaken = 1 << 20;          // inodes that are remembered, 8 bytes each
constexpr std::size_t kMaxWatchedBytes = 12 << 20;  // memory of the directories that are looked at again
constexpr std::size_t kKeepLevels = 16;
constexpr std::int64_t kCoarseNs =
    20'000'000;  // times of inodes come from a clock that ticks every 10 ms or less

std::uint64_t mix(std::uint64_t seed, std::uint64_t value) {  // splitmix64
  std::uint64_t x = seed + value + 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace

// The birth time too: the number of a deleted inode is given to another.
std::uint64_t SecondLook::key_of(const FileInfo& info) {
  std::uint64_t key = mix(info.inode, info.device());
  if (info.btime) key = mix(key, static_cast<std::uint64_t>(info.btime->nanoseconds));
  return key;
}

void SecondLook::taken(const FileInfo& info) {
  if (taken_.size() < kMaxTaken) {
    taken_.push_back(key_of(info));
  } else {
    taken_full_ = true;
  }
}

std::uint32_t SecondLook::listing(std::uint32_t parent, std::string_view name, const FileInfo& info) {
  const std::size_t bytes = 2 * sizeof(Watched) + name.size();
  const bool top = watched_.empty();
  if (watched_bytes_ + bytes > kMaxWatchedBytes || (!top && parent == kNone)) {
    watched_full_ = true;
    return kNone;
  }
  watched_bytes_ += bytes;
  const bool unsure = task_.now().nanoseconds - info.ctime.nanoseconds < kCoarseNs;
  watched_.push_back({key_of(info), info.inode, info.dev_major, info.dev_minor, parent, unsure, info.ctime,
                      std::string(name)});
  return static_cast<std::uint32_t>(watched_.size() - 1);
}

Status SecondLook::look(const Root& top) {
  std::sort(taken_.begin(), taken_.end());
  for (std::uint32_t i = 0; i < watched_.size(); ++i) by_key_.emplace_back(watched_[i].key, i);
  std::sort(by_key_.begin(), by_key_.end());
  if (watched_full_) {
    gap(Impact::degraded, 0, Errc::limit,
        "more directories than are looked at twice: what was moved into the last of them may be missing");
  }
  DirChain chain(top, kKeepLevels);
  std::vector<std::uint32_t> open;  // the way to where `chain` is
  std::vector<bool> reached(watched_.size());
  for (std::uint32_t i = 0; i < watched_.size(); ++i) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    const Watched& watched = watched_[i];
    if (i > 0) {
      if (!reached[watched.parent]) continue;
      for (; open.back() != watched.parent; open.pop_back()) chain.leave();
      FileInfo expected;
      expected.inode = watched.inode;
      expected.dev_major = watched.dev_major;
      expected.dev_minor = watched.dev_minor;
      if (auto entered = chain.enter(watched.name, expected); !entered) {
        const Error& why = entered.error();
        // Removed; where it was moved or replaced, the directory with its name has changed and is looked
        // into.
        if (why.code != Errc::not_found && why.code != Errc::changed && why.code != Errc::vanished)
          gap(Impact::lost, i, why.code, "not looked at again: " + why.what);
        continue;
      }
    }
    open.push_back(i);
    reached[i] = true;
    auto dir = chain.here();
    auto info = dir ? file_info((*dir)->fd(), watched.name) : Result<FileInfo>(dir.error());
    if (!info) {
      gap(Impact::lost, i, info.error().code, "not looked at again: " + info.error().what);
      continue;
    }
    if (!watched.unsure && info->ctime == watched.ctime) continue;
    if (auto status = look_into(i, **dir); !status) return status;
  }
  return Done{};
}

Status SecondLook::look_into(std::uint32_t directory, const Root& dir) {
  if (taken_full_) {
    gap(Impact::lost, directory, Errc::changed, "changed while it was walked: names may be missing");
    return Done{};
  }
  bool made_since = false;
  std::string after;
  for (bool more = true; more;) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto block = list_names(dir, after);
    if (!block) {
      if (block.error().code != Errc::not_found)  // else removed
        gap(Impact::lost, directory, block.error().code, "not looked at again: " + block.error().what);
      return Done{};
    }
    for (const std::string& name : block->names) {
      auto info = dir.stat_beneath(name);
      if (!info && info.error().code == Errc::not_found) continue;
      if (info && is_whiteout_device(*info)) continue;  // deleted since
      const std::uint64_t key = info ? key_of(*info) : 0;
      const bool known = info && std::binary_search(taken_.begin(), taken_.end(), key);
      if (known && !(info->is_directory() && moved_here(directory, key, name))) continue;
      if (!known && info && info->btime && *info->btime >= since_) {
        if (!std::exchange(made_since, true)) {
          gap(Impact::degraded, directory, Errc::changed,
              "changed while it was walked: " + name + " was made after we began and is not taken");
        }
        continue;
      }
      gap(Impact::lost, directory, Errc::changed,
          "changed while it was walked: " + name +
              (known ? " was moved there, names in it may be missing" : " came too late and is not taken"));
      return Done{};
    }
    more = block->more && !block->names.empty();
    if (more) after = block->names.back();
  }
  return Done{};
}

// A directory that we have listed at another place: it could not be looked at again there.
bool SecondLook::moved_here(std::uint32_t directory, std::uint64_t key, const std::string& name) const {
  const auto at = std::lower_bound(by_key_.begin(), by_key_.end(), std::pair(key, std::uint32_t{0}));
  if (at == by_key_.end() || at->first != key) return false;
  return watched_[at->second].parent != directory || watched_[at->second].name != name;
}

std::string SecondLook::path_of(std::uint32_t directory) const {
  std::vector<std::uint32_t> way;
  for (std::uint32_t i = directory; i < watched_.size() && i > 0; i = watched_[i].parent) way.push_back(i);
  std::string path;
  for (auto i = way.rbegin(); i != way.rend(); ++i) path += "/" + watched_[*i].name;
  return path.empty() ? "/" : path;
}

void SecondLook::gap(Impact impact, std::uint32_t directory, Errc code, std::string what) {
  task_.gaps.add({impact, "overlay.directory", path_of(directory), {code, std::move(what)}});
}

}  // namespace ctriage::overlay
