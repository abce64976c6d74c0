#include "lib/core/new_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>

#include <algorithm>
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
  auto file = sys::openat2(directory.fd(), part_of(name), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                           RESOLVE_BENEATH, 0600);
  if (!file) return std::move(file).error();
  return NewFile(*std::move(own), name, *std::move(file), max_bytes);
}

Status NewFile::write(std::span<const std::byte> bytes) {
  if (auto fits = make_room(bytes.size()); !fits) return fits;
  auto written = sys::write_all(file_.get(), bytes, part_of(name_));
  if (written) size_bytes_ += bytes.size();
  return written;
}

Status NewFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (auto fits = make_room(bytes.size()); !fits) return fits;
  auto written = sys::pwrite_all(file_.get(), bytes, offset, part_of(name_));
  if (written) size_bytes_ = std::max(size_bytes_, offset + bytes.size());
  return written;
}

Status NewFile::extend(std::uint64_t size_bytes) {
  if (size_bytes <= size_bytes_) return Done{};
  auto extended = sys::ftruncate(file_.get(), size_bytes, part_of(name_));
  if (extended) size_bytes_ = size_bytes;
  return extended;
}

Result<std::size_t> NewFile::read_at(std::uint64_t offset, std::span<std::byte> into) const {
  return sys::pread_full(file_.get(), into, offset, part_of(name_));
}

// What is written twice counts twice: more than was promised is never written.
Status NewFile::make_room(std::size_t bytes) {
  if (bytes > max_bytes_ - written_bytes_)
    return Error{Errc::full, part_of(name_) + ": no more than " + std::to_string(max_bytes_) +
                                 " bytes may be written here"};
  written_bytes_ += bytes;
  return Done{};
}

Status NewFile::seal() {
  if (auto synced = sys::fsync(file_.get(), part_of(name_)); !synced) return synced;
  if (auto named = rename_new(directory_, part_of(name_), name_); !named) return named;
  return sys::fsync_directory(directory_.fd(), directory_.name());
}

void NewFile::remove() { (void)sys::unlinkat(directory_.fd(), part_of(name_)).has_value(); }

}  // namespace ctriage
