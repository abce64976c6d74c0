#include "lib/bundle/part_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>

#include <algorithm>
#include <cerrno>

#include "lib/core/new_file.h"
#include "lib/core/sys.h"

namespace ctriage::bundle {
namespace {

constexpr std::uint64_t kAheadBytes = 32 << 20;   // allocated at a time
constexpr std::uint64_t kStatfsMargin = 4 << 20;  // where nothing can be allocated: others write there too
constexpr unsigned kMaxCopies = 10'000;           // NAME-2 ... of one second
constexpr std::string_view kSuffix = ".ctriage.tar";

std::uint64_t tail_for(Priority priority) {
  switch (priority) {
    case Priority::data:
      return kTailBytes;
    case Priority::closing:
      return kCustodyBytes;
    case Priority::custody:
    case Priority::ending:
      return 0;
  }
  return kTailBytes;
}

std::string numbered(std::string_view name, unsigned copy) {
  std::string text(name);
  if (copy > 1) text.append("-").append(std::to_string(copy));
  return text.append(kSuffix);
}

bool is_unknown(const Error& error) {
  return error.number == EOPNOTSUPP || error.number == ENOSYS || error.number == EINVAL;
}

bool is_full(const Error& error) { return error.code == Errc::full || error.number == EFBIG; }

}  // namespace

PartFile::PartFile(PartFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      file_(std::move(other.file_)),
      name_(std::move(other.name_)),
      part_name_(std::move(other.part_name_)),
      copy_(other.copy_),
      max_bytes_(other.max_bytes_),
      length_(other.length_.load()),
      ending_(other.ending_.load()),
      allocated_(other.allocated_.load()),
      allocates_(other.allocates_),
      broken_(other.broken_),
      hash_(std::move(other.hash_)) {}

Result<PartFile> PartFile::create(const Root& directory, std::string_view name, std::uint64_t max_bytes) {
  if (max_bytes < kLeastBundle)
    return Error{Errc::limit, "the size limit is below 2 MiB, the least that a bundle needs"};
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  PartFile part(max_bytes);
  part.directory_ = *std::move(own);
  part.name_ = name;
  for (unsigned copy = 1; copy < kMaxCopies && !part.file_; ++copy) {
    const std::string final_name = numbered(name, copy);
    auto taken = sys::stat_at(part.directory_->fd(), final_name);
    if (taken) continue;
    if (taken.error().code != Errc::not_found) return std::move(taken).error();
    part.part_name_ = final_name + ".part";
    auto made = sys::openat2(part.directory_->fd(), part.part_name_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                             RESOLVE_BENEATH, 0600);
    if (made) {
      part.file_ = *std::move(made);
      part.copy_ = copy;
    } else if (made.error().number != EEXIST) {
      return std::move(made).error();
    }
  }
  if (!part.file_) return Error{Errc::limit, "every name like " + numbered(name, 1) + " is taken"};
  auto room = part.make_room(kTailBytes);
  if (room) room = sys::fsync_directory(part.directory_->fd(), part.directory_->name());
  if (!room) {  // empty, and ours: nothing is lost with it
    const auto gone = sys::unlinkat(part.directory_->fd(), part.part_name_);
    return gone ? std::move(room).error() : std::move(room).error().within(part.part_name_ + " stays behind");
  }
  return part;
}

PartFile PartFile::stream(UniqueFd file, std::string_view name, std::uint64_t max_bytes) {
  PartFile part(max_bytes);
  part.file_ = std::move(file);
  part.part_name_ = numbered(name, 1);
  return part;
}

bool PartFile::surely_fits(std::uint64_t more_bytes) const {
  const std::uint64_t end = length_ + more_bytes + ending_ + kTailBytes;
  return (end <= allocated_ || !directory_) && end <= max_bytes_;
}

// Blocks up to `end` belong to the file afterwards, or Errc::full.
Status PartFile::make_room(std::uint64_t end) {
  if (end > max_bytes_) return Error{Errc::full, part_name_ + ": the size limit is reached"};
  if (end <= allocated_ || !directory_) return Done{};
  if (!allocates_) return ask_file_system(end);
  const std::uint64_t from = std::max(allocated_.load(), length_.load());
  const std::uint64_t ahead = std::min(end + kAheadBytes, max_bytes_);
  auto made = sys::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, from, ahead - from, part_name_);
  if (made) {
    allocated_ = ahead;
    return made;
  }
  if (is_full(made.error()))
    made = sys::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, from, end - from, part_name_);
  if (made) {
    allocated_ = end;
    return made;
  }
  if (is_unknown(made.error())) {
    allocates_ = false;
    return ask_file_system(end);
  }
  if (is_full(made.error())) return Error{Errc::full, part_name_ + ": no space left", made.error().number};
  return made;
}

Status PartFile::ask_file_system(std::uint64_t end) {
  auto info = sys::statfs(file_.get(), part_name_);
  if (!info) return std::move(info).error();
  const auto block = static_cast<std::uint64_t>(info->f_frsize > 0 ? info->f_frsize : info->f_bsize);
  const std::uint64_t missing = end - length_ + kStatfsMargin;
  if (block == 0 || info->f_bavail < missing / block + 1)
    return Error{Errc::full, part_name_ + ": no space left"};
  return Done{};
}

Status PartFile::append(std::span<const std::byte> bytes, Priority priority) {
  if (broken_) return Error{Errc::io, part_name_ + ": damaged by an earlier error"};
  if (priority != Priority::ending) {
    auto room = make_room(length_ + bytes.size() + ending_ + tail_for(priority));
    if (!room) return room;
  }
  auto written = directory_ ? sys::pwrite_all(file_.get(), bytes, length_, part_name_)
                            : sys::write_all(file_.get(), bytes, part_name_);
  if (!written) return roll_back(std::move(written).error());
  if (hash_) hash_->update(bytes);
  length_ += bytes.size();
  return Done{};
}

Status PartFile::roll_back(Error error) {
  if (is_full(error)) error.code = Errc::full;
  if (!directory_) {
    broken_ = true;
    return error;
  }
  auto cut = sys::ftruncate(file_.get(), length_, part_name_);
  if (!cut) {
    broken_ = true;
    return error;
  }
  allocated_ = 0;                                                   // went with it
  const auto again = make_room(length_ + ending_ + kCustodyBytes);  // as well as we can: append asks again
  static_cast<void>(again.has_value());
  return error;
}

std::optional<Digest> PartFile::take_digest() {
  if (!hash_) return std::nullopt;
  const Digest digest = hash_->digest();
  hash_.reset();
  return digest;
}

Status PartFile::sync() {
  if (!directory_) return Done{};
  return sys::fdatasync(file_.get(), part_name_);
}

Result<std::string> PartFile::seal() {
  if (broken_) return Error{Errc::io, part_name_ + ": damaged by an earlier error"};
  if (!directory_) return part_name_;
  auto done = sys::ftruncate(file_.get(), length_, part_name_);
  if (done) done = sys::fsync(file_.get(), part_name_);
  if (!done) return std::move(done).error();
  for (unsigned copy = copy_; copy < kMaxCopies; ++copy) {
    const std::string final_name = numbered(name_, copy);
    auto renamed = rename_new(*directory_, part_name_, final_name);
    if (renamed) {
      part_name_ = final_name;
      if (auto synced = sys::fsync_directory(directory_->fd(), directory_->name()); !synced)
        return std::move(synced).error().within("whole, but its name may be lost with the power");
      return final_name;
    }
    if (renamed.error().number != EEXIST) return std::move(renamed).error();
  }
  return Error{Errc::limit, "every name like " + numbered(name_, 1) + " is taken"};
}

}  // namespace ctriage::bundle
