// Names of a directory in order and in bounded memory: each pass reads the whole directory and keeps the
// smallest names after the last one given that fit into a block.
#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/root.h"
#include "lib/core/sys.h"

namespace ctriage {

namespace {

std::size_t cost_of(const std::string& name) { return sizeof(std::string) + name.size(); }

class Smallest {  // the smallest names seen so far that fit into `room` bytes; up to twice that while
                  // collecting
 public:
  explicit Smallest(std::size_t room) : room_(room) {}

  void add(std::string_view name) {
    if (cut_ && name >= *cut_) return;
    names_.emplace_back(name);
    used_ += cost_of(names_.back());
    if (used_ > 2 * room_) trim();
  }

  NameBlock finish() && {
    trim();
    names_.shrink_to_fit();  // whoever walks keeps them for long
    return {std::move(names_), cut_.has_value()};
  }

 private:
  void trim() {
    std::sort(names_.begin(), names_.end());
    // A directory that changes while it is read may give a name twice, readdir(3).
    names_.erase(std::unique(names_.begin(), names_.end()), names_.end());
    used_ = 0;
    std::size_t keep = 0;
    while (keep < names_.size() && (keep == 0 || used_ + cost_of(names_[keep]) <= room_)) {
      used_ += cost_of(names_[keep++]);  // always at least one, or there would be no end to the passes
    }
    if (keep == names_.size()) return;
    cut_ = std::move(names_[keep]);
    names_.resize(keep);
  }

  std::size_t room_;
  std::size_t used_ = 0;
  std::vector<std::string> names_;
  std::optional<std::string> cut_;  // the smallest name dropped: nothing from here on is kept
};

// Calls `take` with the name of each linux_dirent64 record, getdents64(2).
template <class F>
void for_each_name(std::span<const std::byte> records, F&& take) {
  constexpr std::size_t kNameAt = offsetof(dirent64, d_name);
  while (records.size() > kNameAt) {
    unsigned short length = 0;
    std::memcpy(&length, records.data() + offsetof(dirent64, d_reclen), sizeof length);
    if (length <= kNameAt || length > records.size()) return;
    const char* name = reinterpret_cast<const char*>(records.data()) + kNameAt;
    take(std::string_view(name, ::strnlen(name, length - kNameAt)));
    records = records.subspan(length);
  }
}

}  // namespace

Result<NameBlock> list_names(const Root& directory, std::string_view after) {
  return list_names(directory, after, kMaxNameBlockBytes);
}

Result<NameBlock> list_names(const Root& directory, std::string_view after, std::size_t block_bytes) {
  // A description of its own: its position is not shared with anybody. O_NOATIME is for the owner and
  // CAP_FOWNER.
  auto dir = sys::openat2(directory.fd(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!dir && dir.error().number == EPERM) {
    dir = sys::openat2(directory.fd(), ".", O_RDONLY | O_DIRECTORY);
    if (dir) directory.note_access_time(dir->get());
  }
  if (!dir) return system_error(dir.error().number, "open " + directory.name());

  constexpr std::size_t kRecordBytes = 256 << 10;
  const auto records = std::make_unique_for_overwrite<std::byte[]>(kRecordBytes);
  Smallest smallest(block_bytes);
  for (;;) {
    const auto size = sys::getdents64(dir->get(), {records.get(), kRecordBytes}, directory.name());
    if (!size) return size.error();
    if (*size == 0) return std::move(smallest).finish();
    for_each_name({records.get(), *size}, [&](std::string_view name) {
      if (name != "." && name != ".." && name > after) smallest.add(name);
    });
  }
}

}  // namespace ctriage
