// System calls on files. See sys.h for what holds for all of them.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "lib/core/sys.h"
#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

namespace {

// The kernel reads a path up to its first NUL; a name with one inside would silently mean another file.
bool has_nul(std::string_view name) { return name.find('\0') != std::string_view::npos; }

Error nul_inside(std::string_view verb, std::string_view name) {
  errno = EINVAL;
  return failed(verb, name);
}

struct FdPath {  // "/proc/self/fd/N": reaches the inode of an O_PATH descriptor, proc_pid_fd(5)
  char text[32];
  explicit FdPath(int fd) { std::snprintf(text, sizeof text, "/proc/self/fd/%d", fd); }
};

constexpr unsigned kStatMask = STATX_BASIC_STATS | STATX_BTIME;

}  // namespace

Result<UniqueFd> openat2(int dir, std::string_view name, std::uint64_t flags, std::uint64_t resolve,
                         std::uint32_t mode) {
  if (has_nul(name)) return nul_inside("open", name);
  const std::string path(name);
  ::open_how how{};  // zeroed: newer kernels append fields, openat2(2)
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  how.mode = mode;
  // EAGAIN: a rename ran while the kernel resolved; openat2(2) says to try again. Bounded, since it can be
  // provoked.
  for (int tries = 0;; ++tries) {
    const long fd =
        attempt(Call::open, [&] { return ::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how); });
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno != EAGAIN || resolve == 0 || tries == 64) return failed("open", name);
  }
}

Result<UniqueFd> reopen(int fd, std::uint64_t flags, std::string_view name) {
  const FdPath path(fd);
  const int opened =
      attempt(Call::open, [&] { return ::open(path.text, static_cast<int>(flags) | O_CLOEXEC); });
  if (opened < 0) return failed("open", name);
  return UniqueFd(opened);
}

Result<UniqueFd> duplicate(int fd, std::string_view name) {
  const int copy = attempt(Call::duplicate, [&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
  if (copy < 0) return failed("duplicate the descriptor of", name);
  return UniqueFd(copy);
}

Status replace(int fd, int with) {
  return done_or(attempt(Call::duplicate, [&] { return ::dup3(with, fd, O_CLOEXEC); }), "replace descriptor",
                 std::to_string(fd));
}

// Never repeated on EINTR: Linux has freed the descriptor by then, and it may be another thread's already.
void close(int fd) noexcept { ::close(fd); }

void close_range(unsigned first, unsigned last) noexcept {
  if (first > last || ::close_range(first, last, 0) == 0) return;
  // Before Linux 5.9. The limit of a service may be millions; nothing of ours has that many open.
  const long limit = ::sysconf(_SC_OPEN_MAX);
  const unsigned most = limit > 0 && limit < 65'536 ? static_cast<unsigned>(limit) : 65'536;
  for (unsigned fd = first; fd <= last && fd < most; ++fd) ::close(static_cast<int>(fd));
}

Result<StatBuffer> stat_at(int dir, std::string_view name) {
  if (has_nul(name)) return nul_inside("stat", name);
  const std::string path(name);
  StatBuffer found{};
  // DONT_SYNC: what the kernel knows is enough, and a FUSE or NFS server of the attacker's that never answers
  // is not asked.
  constexpr int kFlags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
  if (attempt(Call::stat, [&] { return ::statx(dir, path.c_str(), kFlags, kStatMask, &found); }) < 0) {
    return failed("stat", name);
  }
  return found;
}

Result<StatBuffer> stat_fd(int fd, std::string_view name) {
  StatBuffer found{};
  constexpr int kFlags = AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;  // as in stat_at
  if (attempt(Call::stat, [&] { return ::statx(fd, "", kFlags, kStatMask, &found); }) < 0)
    return failed("stat", name);
  return found;
}

Result<FsInfo> statfs(int fd, std::string_view name) {
  FsInfo found{};
  if (attempt(Call::stat, [&] { return ::fstatfs(fd, &found); }) < 0) return failed("statfs", name);
  return found;
}

Result<std::string> readlinkat(int dir, std::string_view name) {
  if (has_nul(name)) return nul_inside("read link", name);
  const std::string path(name);
  // st_size of a link is a guess (0 on procfs), so grow until it fits. Links end at PATH_MAX; procfs at a
  // page.
  for (std::size_t room = 256; room <= 64 << 10; room *= 4) {
    std::string target(room, '\0');
    const ssize_t size = attempt(
        Call::read_link, [&] { return ::readlinkat(dir, path.c_str(), target.data(), target.size()); });
    if (size < 0) return failed("read link", name);
    if (static_cast<std::size_t>(size) < room) {
      target.resize(static_cast<std::size_t>(size));
      return target;
    }
  }
  errno = ENAMETOOLONG;
  return failed("read link", name);
}

Result<std::size_t> getdents64(int fd, std::span<std::byte> into, std::string_view name) {
  return size_or(attempt(Call::list, [&] { return ::getdents64(fd, into.data(), into.size()); }), "list",
                 name);
}

// O_PATH descriptors refuse the f-calls with EBADF; the path of the descriptor reaches the same inode.
Result<std::size_t> list_xattrs(int fd, std::span<char> into, std::string_view name) {
  ssize_t size = attempt(Call::xattr, [&] { return ::flistxattr(fd, into.data(), into.size()); });
  if (size < 0 && errno == EBADF) {
    const FdPath path(fd);
    size = attempt(Call::xattr, [&] { return ::listxattr(path.text, into.data(), into.size()); });
  }
  return size_or(size, "list extended attributes of", name);
}

Result<std::size_t> get_xattr(int fd, const std::string& attribute, std::span<char> into,
                              std::string_view name) {
  const char* key = attribute.c_str();
  ssize_t size = attempt(Call::xattr, [&] { return ::fgetxattr(fd, key, into.data(), into.size()); });
  if (size < 0 && errno == EBADF) {
    const FdPath path(fd);
    size = attempt(Call::xattr, [&] { return ::getxattr(path.text, key, into.data(), into.size()); });
  }
  return size_or(size, "read extended attribute " + attribute + " of", name);
}

Result<unsigned> seals(int fd, std::string_view name) {
  const int found = attempt(Call::query, [&] { return ::fcntl(fd, F_GET_SEALS); });
  if (found < 0) return failed("read the seals of", name);
  return static_cast<unsigned>(found);
}

Result<std::size_t> read(int fd, std::span<std::byte> into, std::string_view name) {
  return size_or(attempt_once(Call::read, [&] { return ::read(fd, into.data(), into.size()); }), "read",
                 name);
}

Result<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset, std::string_view name) {
  const auto at = static_cast<off_t>(offset);
  return size_or(attempt_once(Call::read, [&] { return ::pread(fd, into.data(), into.size(), at); }), "read",
                 name);
}

Result<std::size_t> pread_full(int fd, std::span<std::byte> into, std::uint64_t offset,
                               std::string_view name) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    const auto rest = into.subspan(filled);
    const auto at = static_cast<off_t>(offset + filled);
    const ssize_t size = attempt(Call::read, [&] { return ::pread(fd, rest.data(), rest.size(), at); });
    if (size < 0) return failed("read", name);
    if (size == 0) break;
    filled += static_cast<std::size_t>(size);
  }
  return filled;
}

Result<std::size_t> write(int fd, std::span<const std::byte> bytes, std::string_view name) {
  return size_or(attempt_once(Call::write, [&] { return ::write(fd, bytes.data(), bytes.size()); }), "write",
                 name);
}

Status write_all(int fd, std::span<const std::byte> bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t size = attempt(Call::write, [&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (size < 0) return failed("write", name);
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
  return Done{};
}

Status write_all(int fd, std::string_view text, std::string_view name) {
  return write_all(fd, std::as_bytes(std::span(text.data(), text.size())), name);
}

Status pwrite_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset, std::string_view name) {
  while (!bytes.empty()) {
    const auto at = static_cast<off_t>(offset);
    const ssize_t size = attempt(Call::write, [&] { return ::pwrite(fd, bytes.data(), bytes.size(), at); });
    if (size < 0) return failed("write", name);
    bytes = bytes.subspan(static_cast<std::size_t>(size));
    offset += static_cast<std::size_t>(size);
  }
  return Done{};
}

Result<std::uint64_t> lseek(int fd, std::int64_t offset, int whence, std::string_view name) {
  const off_t at = attempt(Call::seek, [&] { return ::lseek(fd, offset, whence); });
  if (at < 0) return failed("seek in", name);
  return static_cast<std::uint64_t>(at);
}

Status fsync(int fd, std::string_view name) {
  return done_or(attempt(Call::sync, [&] { return ::fsync(fd); }), "sync", name);
}

Status fdatasync(int fd, std::string_view name) {
  return done_or(attempt(Call::sync, [&] { return ::fdatasync(fd); }), "sync", name);
}

Status fsync_directory(int dir, std::string_view name) {
  auto opened = openat2(dir, ".", O_RDONLY | O_DIRECTORY);
  if (!opened) return std::move(opened).error().within(name);
  return fsync(opened->get(), name);
}

Status fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length, std::string_view name) {
  return done_or(
      attempt(Call::space,
              [&] { return ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)); }),
      "reserve space for", name);
}

Status ftruncate(int fd, std::uint64_t length, std::string_view name) {
  return done_or(attempt(Call::space, [&] { return ::ftruncate(fd, static_cast<off_t>(length)); }),
                 "truncate", name);
}

Status renameat2(int from_dir, std::string_view from, int to_dir, std::string_view to, unsigned flags) {
  if (has_nul(from)) return nul_inside("rename", from);
  if (has_nul(to)) return nul_inside("rename to", to);
  const std::string old_path(from);
  const std::string new_path(to);
  const auto call = [&] { return ::renameat2(from_dir, old_path.c_str(), to_dir, new_path.c_str(), flags); };
  return done_or(attempt(Call::rename, call), "rename", old_path + " to " + new_path);
}

Status unlinkat(int dir, std::string_view name, int flags) {
  if (has_nul(name)) return nul_inside("remove", name);
  const std::string path(name);
  return done_or(attempt(Call::rename, [&] { return ::unlinkat(dir, path.c_str(), flags); }), "remove", name);
}

Status mkdirat(int dir, std::string_view name, std::uint32_t mode) {
  if (has_nul(name)) return nul_inside("make directory", name);
  const std::string path(name);
  return done_or(attempt(Call::rename, [&] { return ::mkdirat(dir, path.c_str(), mode); }), "make directory",
                 name);
}

}  // namespace ctriage::sys
