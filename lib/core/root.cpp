// Resolving hostile names with openat2(2). Anything is opened with O_PATH first and looked at; only what
// turned out to be a regular file or a directory is then opened for reading, through that same descriptor, so
// that nobody can put a FIFO or a device in its place in between.
#include "lib/core/root.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <cerrno>
#include <climits>

#include "lib/core/sys.h"

namespace ctriage {

namespace {

// RESOLVE_NO_XDEV is not among them: a layer or a volume may itself be, or hold, a mount.
constexpr std::uint64_t kBeneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
constexpr std::uint64_t kInRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
constexpr std::uint64_t kOnProcfs = kBeneath | RESOLVE_NO_XDEV;

// One name, also one over PATH_MAX, which the kernel refuses: such a name is resolved in pieces. Beneath
// only, where a piece means the same wherever it is resolved from, since no link and no ".." out of the root
// is followed.
Result<UniqueFd> pin(int dir, std::string_view name, std::uint64_t flags) {
  constexpr std::size_t kLongest = PATH_MAX - 1;
  UniqueFd held;
  std::string_view rest = name;
  while (rest.size() > kLongest) {
    const std::size_t slash = rest.rfind('/', kLongest);
    if (slash == std::string_view::npos || slash == 0) break;  // the kernel says what is wrong with it
    auto step = sys::openat2(dir, rest.substr(0, slash), O_PATH | O_DIRECTORY, kBeneath);
    if (!step) return step;
    held = *std::move(step);
    dir = held.get();
    rest.remove_prefix(std::min(rest.find_first_not_of('/', slash), rest.size()));
  }
  return sys::openat2(dir, rest.empty() ? "." : rest, O_PATH | flags, kBeneath);
}

// What a magic link of procfs points at. The way to the link is walked like any other hostile name, and the
// link must lie on a procfs: anywhere else it would be an ordinary link that somebody chose.
Result<UniqueFd> follow_magic(int dir, std::string_view name, std::uint64_t flags) {
  const std::size_t slash = name.rfind('/');
  const bool nested = slash != std::string_view::npos;
  const std::string_view last = nested ? name.substr(slash + 1) : name;
  if (last.empty() || last == "." || last == "..") {
    return Error{Errc::outside, std::string("open ").append(name).append(": not a link of procfs")};
  }
  auto parent = pin(dir, nested ? name.substr(0, slash) : ".", O_DIRECTORY);
  if (!parent) return parent;
  const auto fs = sys::statfs(parent->get(), name);
  if (!fs) return fs.error();
  if (fs->f_type != PROC_SUPER_MAGIC) {
    return Error{Errc::outside, std::string("open ").append(name).append(": not on a procfs")};
  }
  auto opened = sys::openat2(parent->get(), last, O_PATH | flags);
  if (!opened) return system_error(opened.error().number, std::string("open ").append(name));
  return opened;
}

// "4711/ns", "4711/task/4712/fd": directories of procfs, so that none of them is a link.
bool is_way_to_process(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty()) return false;
    const bool named = part == "task" || part == "ns" || part == "fd";
    if (!named && part.find_first_not_of("0123456789") != std::string_view::npos) return false;
  }
  return true;
}

std::string_view directory_of(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

std::string below(const std::string& root, std::string_view name) {
  return root == "/" ? std::string("/").append(name) : std::string(root).append("/").append(name);
}

bool is_one_component(std::string_view name) {
  return !name.empty() && name != ".." && name.find('/') == std::string_view::npos;
}

}  // namespace

Result<Root> Root::open(const std::string& path) {
  auto dir = sys::openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY);
  if (!dir) return std::move(dir).error();
  return Root(*std::move(dir), path);
}

Root Root::adopt(UniqueFd dir, std::string name) { return Root(std::move(dir), std::move(name)); }

Root Root::adopt_own_procfs(UniqueFd dir, std::string name) {
  return Root(std::move(dir), std::move(name), nullptr, true);
}

Result<UniqueFd> Root::open_pinned(int pinned, std::string_view name) const {
  const auto info = file_info(pinned, name);
  if (!info) return info.error();
  return open_pinned(pinned, *info, name);
}

// The file cannot have become something else: an inode keeps its type.
Result<UniqueFd> Root::open_pinned(int pinned, const FileInfo& info, std::string_view name) const {
  if (!info.is_regular()) {
    return Error{Errc::unsupported, std::string("open ").append(name).append(": not a regular file")};
  }
  constexpr std::uint64_t kFlags = O_RDONLY | O_NOCTTY | O_NONBLOCK;
  auto opened = sys::reopen(pinned, kFlags | O_NOATIME, name);
  if (!opened && opened.error().number == EPERM) {  // not for us; the rest may still read
    opened = sys::reopen(pinned, kFlags, name);
    if (opened) note_access_time(opened->get());
  }
  if (!opened && opened.error().number == ENOENT) {
    return std::move(opened).error().within("no procfs that knows us at /proc");
  }
  return opened;
}

void Root::note_access_time(int opened) const {
  if (!touched_) return;
  const auto fs = sys::statfs(opened, name_);
  if (!fs || fs->f_type != PROC_SUPER_MAGIC) ++*touched_;
}

Result<UniqueFd> Root::open_beneath(std::string_view name) const {
  const auto pinned = pin(dir_.get(), name, 0);
  if (!pinned) return pinned.error();
  return open_pinned(pinned->get(), name);
}

// Of a procfs of our own: nothing in it hangs or acts when it is opened for reading. May be a directory.
Result<UniqueFd> Root::open_own(std::string_view name) const {
  constexpr std::uint64_t kFlags = O_RDONLY | O_NOCTTY | O_NONBLOCK;
  auto opened = sys::openat2(dir_.get(), name, kFlags, kInRoot | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
  if (opened || opened.error().number != ELOOP) return opened;
  const auto pinned = sys::openat2(dir_.get(), name, O_PATH, kInRoot);  // "self" is a link
  return pinned ? open_pinned(pinned->get(), name) : Result<UniqueFd>(pinned.error());
}

Result<UniqueFd> Root::open_in_root(std::string_view name) const {
  if (own_procfs_) {
    auto opened = open_own(name);
    const auto info = opened ? sys::stat_fd(opened->get(), name) : Result<sys::StatBuffer>(opened.error());
    if (!info || S_ISREG(info->stx_mode)) return info ? std::move(opened) : Result<UniqueFd>(info.error());
  }
  const auto pinned = sys::openat2(dir_.get(), name, O_PATH, kInRoot);
  if (!pinned) return pinned.error();
  return open_pinned(pinned->get(), name);
}

Result<Root> Root::descend(std::string_view name) const {
  auto dir = own_procfs_
                 ? sys::openat2(dir_.get(), name.empty() ? "." : name, O_PATH | O_DIRECTORY, kOnProcfs)
                 : pin(dir_.get(), name, O_DIRECTORY);
  if (!dir) return std::move(dir).error();
  return Root(*std::move(dir), below(name_, name), touched_, own_procfs_);
}

Result<Root> Root::descend_in_root(std::string_view name) const {
  auto dir = sys::openat2(dir_.get(), name, O_PATH | O_DIRECTORY, kInRoot);
  if (!dir) return std::move(dir).error();
  return Root(*std::move(dir), below(name_, name), touched_);
}

Result<UniqueFd> Root::pin_beneath(std::string_view name) const { return pin(dir_.get(), name, O_NOFOLLOW); }

Result<FileInfo> Root::stat_beneath(std::string_view name) const {
  if (name.empty()) return file_info(dir_.get(), name_);
  if (is_one_component(name)) {  // nothing on the way that could lead out, so one call is enough
    const auto found = sys::stat_at(dir_.get(), name);
    if (!found) return found.error();
    return to_file_info(*found);
  }
  const auto pinned = pin_beneath(name);
  if (!pinned) return system_error(pinned.error().number, std::string("stat ").append(name));
  return file_info(pinned->get(), name);
}

Result<FileInfo> Root::stat_in_root(std::string_view name) const {
  const auto pinned = sys::openat2(dir_.get(), name, O_PATH, kInRoot);
  if (!pinned) return system_error(pinned.error().number, std::string("stat ").append(name));
  return file_info(pinned->get(), name);
}

Result<std::string> Root::read_link_beneath(std::string_view name) const {
  if (is_one_component(name) || (own_procfs_ && is_way_to_process(directory_of(name)))) {
    return sys::readlinkat(dir_.get(), name);
  }
  const auto pinned = pin_beneath(name);
  if (!pinned) return system_error(pinned.error().number, std::string("read link ").append(name));
  auto target = sys::readlinkat(pinned->get(), "");
  if (!target) {  // of a descriptor that is no link the kernel says ENOENT, of a name EINVAL: one answer for
                  // both
    const int number = target.error().number == ENOENT ? EINVAL : target.error().number;
    return system_error(number, std::string("read link ").append(name));
  }
  return target;
}

Result<std::string> Root::read_file_in_root(std::string_view name, std::size_t most) const {
  const auto file = own_procfs_ ? open_own(name) : open_in_root(name);
  if (!file) return file.error();
  std::string text;
  for (;;) {
    constexpr std::size_t kFirstBytes = 4 << 10;  // most files of /proc are smaller
    constexpr std::size_t kBlockBytes = 64 << 10;
    const std::size_t had = text.size();
    const std::size_t block = had == 0 ? kFirstBytes : kBlockBytes;
    text.resize(had + std::min(block,
                               most + 1 - had));  // one over `most` tells a fitting file from a larger one
    const auto room = std::as_writable_bytes(std::span(text).subspan(had));
    const auto got = sys::pread_full(file->get(), room, had, name);
    if (!got) return got.error();
    text.resize(had + *got);
    if (text.size() > most) {
      return Error{Errc::limit, std::string(name).append(": more than ") + std::to_string(most) + " bytes"};
    }
    if (*got < room.size()) return text;
  }
}

Result<UniqueFd> Root::open_magic(std::string_view name) const {
  const auto pinned = pin_magic(name);
  if (!pinned) return pinned.error();
  return open_pinned(pinned->get(), name);
}

// In a procfs of our own all links are the kernel's: nothing is to be asked.
Result<UniqueFd> Root::follow(std::string_view name, std::uint64_t flags) const {
  const std::string_view last = name.substr(name.rfind('/') + 1);
  if (own_procfs_ && is_way_to_process(directory_of(name)) && is_one_component(last) && last != ".") {
    return sys::openat2(dir_.get(), name, O_PATH | flags);
  }
  return follow_magic(dir_.get(), name, flags);
}

Result<UniqueFd> Root::pin_magic(std::string_view name) const { return follow(name, 0); }

Result<Root> Root::descend_magic(std::string_view name) const {
  auto dir = follow(name, O_DIRECTORY);
  if (!dir) return std::move(dir).error();
  return Root(*std::move(dir), below(name_, name), touched_);
}

Result<Root> Root::clone_read_only() const {
  auto clone = sys::open_tree_clone(dir_.get(), name_);
  if (!clone) return std::move(clone).error();
  constexpr std::uint64_t kSet =
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  // NOATIME is a value of the field MOUNT_ATTR__ATIME, which must be cleared with it, mount_setattr(2).
  if (auto set = sys::mount_setattr(clone->get(), kSet, MOUNT_ATTR__ATIME, name_); !set)
    return std::move(set).error();
  return Root(*std::move(clone), name_, touched_);
}

Result<Root> Root::duplicate() const {
  auto copy = sys::duplicate(dir_.get(), name_);
  if (!copy) return std::move(copy).error();
  return Root(*std::move(copy), name_, touched_, own_procfs_);
}

}  // namespace ctriage
