#include "lib/core/new_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>

#include <cerrno>

#include "lib/core/sys.h"

namespace ctriage {
namespace {

std::string part_of(const std::string& name) { return name + ".part"; }

}  // namespace

Status rename_new(const Root& directory, const std::string& from, const std::string& to) {
  const int dir = directory.fd();
  auto renamed = sys::renameat2(dir, from, dir, to, RENAME_NOREPLACE);
  if (renamed) return renamed;
  const int why = renamed.error().number;
  if (why != EOPNOTSUPP && why != ENOSYS && why != EINVAL) return renamed;
  auto taken = sys::stat_at(dir, to);
  if (taken) return system_error(EEXIST, "rename " + from + " to " + to);
  return sys::renameat2(dir, from, dir, to, 0);
}

Result<NewFile> NewFile::create(const Root& directory, const std::string& name, std::uint64_t max_bytes) {
  auto there = directory.stat_beneath(name);
  if (there) return system_error(EEXIST, "write " + name);
  if (there.error().code != Errc::not_found) return std::move(there).error();
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  auto file = sys::openat2(directory.fd(), part_of(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                           RESOLVE_BENEATH, 0600);
  if (!file) return std::move(file).error();
  return NewFile(*std::move(own), name, *std::move(file), max_bytes);
}

Status NewFile::write(std::span<const std::byte> bytes) {
  if (bytes.size() > max_bytes_ - size_bytes_)
    return Error{Errc::full, part_of(name_) + ": no more than " + std::to_string(max_bytes_) +
                                 " bytes may be written here"};
  auto written = sys::write_all(file_.get(), bytes, part_of(name_));
  if (written) size_bytes_ += bytes.size();
  return written;
}

Status NewFile::seal() {
  if (auto synced = sys::fsync(file_.get(), part_of(name_)); !synced) return synced;
  if (auto named = rename_new(directory_, part_of(name_), name_); !named) return named;
  return sys::fsync_directory(directory_.fd(), directory_.name());
}

void NewFile::remove() { (void)sys::unlinkat(directory_.fd(), part_of(name_)).has_value(); }

}  // namespace ctriage
