// What an inode says of itself: statx(2) and extended attributes.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"

namespace ctriage {

namespace {

Timestamp to_timestamp(const statx_timestamp& at) { return {at.tv_sec, at.tv_nsec}; }

// The names of all attributes as the kernel gives them, each with a NUL behind it.
Result<std::string> list_attributes(int fd, std::string_view name) {
  for (std::size_t room = 4 << 10;; room *= 16) {
    std::string names(std::min(room, kMaxXattrListBytes), '\0');
    const auto size = sys::list_xattrs(fd, names, name);
    if (size) {
      names.resize(*size);
      return names;
    }
    if (size.error().number == EOPNOTSUPP) return std::string();  // a file system without any
    if (size.error().number != ERANGE) return size.error();
    if (room >= kMaxXattrListBytes) {
      return Error{Errc::limit, std::string(name).append(": too many extended attributes"), ERANGE};
    }
  }
}

Result<std::string> read_attribute(int fd, const std::string& attribute, std::string_view name) {
  for (std::size_t room = 1 << 10;; room = kMaxXattrBytes) {
    std::string value(room, '\0');
    const auto size = sys::get_xattr(fd, attribute, value, name);
    if (size) {
      value.resize(*size);
      return value;
    }
    if (size.error().number != ERANGE) return size.error();
    if (room == kMaxXattrBytes) {
      return Error{Errc::limit, std::string(name) + ": extended attribute " + attribute + " is too large",
                   ERANGE};
    }
  }
}

}  // namespace

FileInfo to_file_info(const struct ::statx& found) {
  FileInfo info;
  info.mode = found.stx_mode;
  info.uid = found.stx_uid;
  info.gid = found.stx_gid;
  info.nlink = found.stx_nlink;
  info.size_bytes = found.stx_size;
  info.allocated_bytes = found.stx_blocks * 512;  // always units of 512 bytes, statx(2)
  info.inode = found.stx_ino;
  info.dev_major = found.stx_dev_major;
  info.dev_minor = found.stx_dev_minor;
  info.rdev_major = found.stx_rdev_major;
  info.rdev_minor = found.stx_rdev_minor;
  info.atime = to_timestamp(found.stx_atime);
  info.mtime = to_timestamp(found.stx_mtime);
  info.ctime = to_timestamp(found.stx_ctime);
  if ((found.stx_mask & STATX_BTIME) != 0) info.btime = to_timestamp(found.stx_btime);
  return info;
}

bool FileInfo::is_regular() const { return S_ISREG(mode); }
bool FileInfo::is_directory() const { return S_ISDIR(mode); }
bool FileInfo::is_symlink() const { return S_ISLNK(mode); }
bool FileInfo::is_char_device() const { return S_ISCHR(mode); }

bool FileInfo::same_inode(const FileInfo& other) const {
  return inode == other.inode && dev_major == other.dev_major && dev_minor == other.dev_minor;
}

Result<FileInfo> file_info(int fd, std::string_view name) {
  const auto found = sys::stat_fd(fd, name);
  if (!found) return found.error();
  return to_file_info(*found);
}

Result<std::vector<Xattr>> read_xattrs(int fd, std::string_view name) {
  const auto names = list_attributes(fd, name);
  if (!names) return names.error();
  std::vector<Xattr> found;
  for (const std::string_view attribute : split(*names, '\0')) {
    if (!attribute.empty()) found.push_back({std::string(attribute), {}, {}});
  }
  // What the kernel acts on comes before what anybody can pile up.
  const auto rank = [](const Xattr& x) {
    return x.name.starts_with("security.") || x.name.starts_with("system.")                            ? 0
           : x.name.starts_with("trusted.overlay.") && !x.name.starts_with("trusted.overlay.overlay.") ? 1
                                                                                                       : 2;
  };
  std::sort(found.begin(), found.end(), [&](const Xattr& a, const Xattr& b) {
    return std::pair(rank(a), std::string_view(a.name)) < std::pair(rank(b), std::string_view(b.name));
  });
  std::size_t kept = 0;
  for (Xattr& xattr : found) {
    auto value = read_attribute(fd, xattr.name, name);
    if (!value && value.error().number == ENODATA) {  // removed since it was listed
      xattr.name.clear();
      continue;
    }
    if (!value) return std::move(value).error();
    if (kept + value->size() > kMaxXattrsKeptBytes) {
      xattr.left_out = std::to_string(value->size()) + " bytes, SHA-256 " +
                       to_hex(sha256(std::as_bytes(std::span(value->data(), value->size()))));
      continue;
    }
    kept += value->size();
    xattr.value = *std::move(value);
  }
  std::erase_if(found, [](const Xattr& xattr) { return xattr.name.empty(); });
  std::sort(found.begin(), found.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return found;
}

}  // namespace ctriage
