#pragma once
// The only place that opens files of evidence. A Root is a directory that names are resolved inside of.
//
// Names found in evidence may be absolute, climb with "..", or be links that lead to the examiner's own /etc.
// Two verbs:
// *_beneath follows no link at all (walks of layers), *_in_root follows links inside the root
// (configuration). Neither leaves the root, neither opens anything but a regular file or a directory: opening
// a FIFO hangs, opening a device acts.
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"
#include "lib/core/values.h"

struct statx;

namespace ctriage {

struct FileInfo {          // statx(2)
  std::uint32_t mode = 0;  // type and permission bits, inode(7)
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t inode = 0;
  std::uint32_t dev_major = 0;
  std::uint32_t dev_minor = 0;
  std::uint32_t rdev_major = 0;
  std::uint32_t rdev_minor = 0;
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  std::optional<Timestamp> btime;  // where the file system keeps it; utimensat(2) cannot set it

  [[nodiscard]] bool is_regular() const;
  [[nodiscard]] bool is_directory() const;
  [[nodiscard]] bool is_symlink() const;
  [[nodiscard]] bool is_char_device() const;
  // Of a regular file: bytes that take no room, most of all holes.
  [[nodiscard]] std::uint64_t hole_bytes() const {
    return size_bytes > allocated_bytes ? size_bytes - allocated_bytes : 0;
  }
  [[nodiscard]] bool same_inode(const FileInfo& other) const;
  // Device ids as lib/model keeps them: major << 32 | minor.
  [[nodiscard]] std::uint64_t device() const { return std::uint64_t{dev_major} << 32 | dev_minor; }
  [[nodiscard]] std::uint64_t rdev() const { return std::uint64_t{rdev_major} << 32 | rdev_minor; }
};

struct Xattr {
  std::string name;   // "trusted.overlay.opaque"
  std::string value;  // any bytes
  // "65536 bytes, SHA-256 <hex>" of a value that is not kept, kMaxXattrsKeptBytes; empty: it is.
  std::string left_out;
};

class Root {
 public:
  // A directory by a path of ours or the user's (links are followed: the path is trusted).
  static Result<Root> open(const std::string& path);
  // Takes over an open directory; `name` is what messages call it.
  static Root adopt(UniqueFd dir, std::string name);
  // The same of a procfs that we have mounted ourselves and nobody else sees: all that lies in it is the
  // kernel's, regular files, directories and its own links, so what is asked below it costs one call each.
  // What a magic link leads to is no part of it.
  static Root adopt_own_procfs(UniqueFd dir, std::string name);

  // A regular file for reading, with O_NOATIME where we may. Errc::not_found, outside (a link or "..": ELOOP,
  // EXDEV), unsupported (not a regular file), denied, io.
  [[nodiscard]] Result<UniqueFd> open_beneath(std::string_view name) const;
  [[nodiscard]] Result<UniqueFd> open_in_root(std::string_view name) const;
  // The regular file that `pinned` (O_PATH) refers to, in the same way: no name is looked up.
  [[nodiscard]] Result<UniqueFd> open_pinned(int pinned, std::string_view name) const;
  [[nodiscard]] Result<UniqueFd> open_pinned(int pinned, const FileInfo& info, std::string_view name) const;
  // A directory below, as a Root of its own.
  [[nodiscard]] Result<Root> descend(std::string_view name) const;
  [[nodiscard]] Result<Root> descend_in_root(std::string_view name) const;
  // O_PATH on anything, the last component not followed: keeps an inode alive without opening it.
  [[nodiscard]] Result<UniqueFd> pin_beneath(std::string_view name) const;
  // statx(2), the last component not followed. "" is the directory itself.
  [[nodiscard]] Result<FileInfo> stat_beneath(std::string_view name) const;
  [[nodiscard]] Result<FileInfo> stat_in_root(std::string_view name) const;  // links followed inside
  [[nodiscard]] Result<std::string> read_link_beneath(std::string_view name) const;
  [[nodiscard]] Result<std::string> read_file_in_root(std::string_view name, std::size_t most) const;
  // procfs only: opens what a magic link (/proc/PID/exe, root, cwd, fd/N) points at, O_PATH or for reading
  // (then only a regular file). The link is the kernel's, not the attacker's; what lies behind it is hostile.
  [[nodiscard]] Result<UniqueFd> open_magic(std::string_view name) const;
  [[nodiscard]] Result<UniqueFd> pin_magic(std::string_view name) const;
  [[nodiscard]] Result<Root> descend_magic(std::string_view name) const;

  // A private, read-only copy of the mount at this directory that nobody else sees: open_tree(2)
  // OPEN_TREE_CLONE and mount_setattr(2) RDONLY|NOATIME|NOSUID|NODEV|NOEXEC. Links read through it keep their
  // access time, writes fail. Needs CAP_SYS_ADMIN: Errc::denied without, unsupported on kernels before 5.12.
  [[nodiscard]] Result<Root> clone_read_only() const;

  // O_NOATIME is for the owner and CAP_FOWNER, open(2): without it reading may change an access time. How
  // often that was so, here and in all Roots that come from this one; procfs, where it means nothing, left
  // out.
  using AccessTimes = std::shared_ptr<std::atomic<std::uint64_t>>;
  void count_access_times(AccessTimes into) { touched_ = std::move(into); }
  void note_access_time(int opened) const;

  [[nodiscard]] int fd() const { return dir_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  void call(std::string name) { name_ = std::move(name); }  // what messages call it from now on
  [[nodiscard]] Result<Root> duplicate() const;

 private:
  Root(UniqueFd dir, std::string name, AccessTimes touched = nullptr, bool own_procfs = false)
      : dir_(std::move(dir)), name_(std::move(name)), touched_(std::move(touched)), own_procfs_(own_procfs) {}
  [[nodiscard]] Result<UniqueFd> open_own(std::string_view name) const;
  [[nodiscard]] Result<UniqueFd> follow(std::string_view name, std::uint64_t flags) const;
  UniqueFd dir_;
  std::string name_;
  AccessTimes touched_;
  bool own_procfs_ = false;
};

FileInfo to_file_info(const struct ::statx& found);
// What an open descriptor (O_PATH too) says of itself; `name` is for messages.
Result<FileInfo> file_info(int fd, std::string_view name);
// All extended attributes in order of name, read through /proc/self/fd so that O_PATH descriptors of links,
// devices and deleted files work too. A value over kMaxXattrBytes is Errc::limit.
Result<std::vector<Xattr>> read_xattrs(int fd, std::string_view name);

// The names in a directory in bytewise order, a block at a time: those after `after` ("" for the first) that
// fit into kMaxNameBlockBytes. `more` says whether a further pass is needed. Reading a directory of a million
// names so costs passes, not memory. "." and ".." are left out.
struct NameBlock {
  std::vector<std::string> names;
  bool more = false;
};
Result<NameBlock> list_names(const Root& directory, std::string_view after);
Result<NameBlock> list_names(const Root& directory, std::string_view after, std::size_t block_bytes);

}  // namespace ctriage
