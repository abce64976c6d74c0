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
constexpr std::string_view kEncrypted = ".age";

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

class PartFile::Tail final : public ByteSink {
 public:
  explicit Tail(PartFile& part) : part_(part) {}
  Status write(std::span<const std::byte> bytes) override {
    auto written = part_.directory_
                       ? sys::pwrite_all(part_.file_.get(), bytes, part_.stored_, part_.part_name_)
                       : sys::write_all(part_.file_.get(), bytes, part_.part_name_);
    if (written) part_.stored_ += bytes.size();
    return written;
  }

 private:
  PartFile& part_;
};

PartFile::PartFile(PartFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      file_(std::move(other.file_)),
      name_(std::move(other.name_)),
      part_name_(std::move(other.part_name_)),
      copy_(other.copy_),
      max_bytes_(other.max_bytes_),
      length_(other.length_.load()),
      stored_(other.stored_.load()),
      ending_(other.ending_.load()),
      allocated_(other.allocated_.load()),
      allocates_(other.allocates_),
      broken_(other.broken_),
      hash_(std::move(other.hash_)),
      encryptor_(std::move(other.encryptor_)) {}

Status PartFile::encrypt_to(std::span<const AgeRecipient> recipients) {
  if (recipients.empty()) return Done{};
  auto encryptor = AgeEncryptor::create(recipients);
  if (!encryptor) return std::move(encryptor).error();
  encryptor_.emplace(*std::move(encryptor));
  return Done{};
}

Status PartFile::begin() {
  if (!encryptor_) return Done{};
  return Tail(*this).write(bytes_in(encryptor_->header()));
}

std::string PartFile::file_name(unsigned copy) const {
  return numbered(name_, copy).append(encryptor_ ? kEncrypted : "");
}

// A name stands for one bundle, encrypted or not: later hands write beside it.
bool PartFile::is_taken(unsigned copy, Status& looked) const {
  for (const std::string_view end : {std::string_view(), kEncrypted}) {
    auto found = sys::stat_at(directory_->fd(), numbered(name_, copy).append(end));
    if (found) return true;
    if (found.error().code != Errc::not_found) looked = std::move(found).error();
  }
  return false;
}

std::uint64_t PartFile::stored_for(std::uint64_t plain_bytes) const {
  return encryptor_ ? encryptor_->stored_bytes(plain_bytes) : plain_bytes;
}

Result<PartFile> PartFile::create(const Root& directory, std::string_view name, std::uint64_t max_bytes,
                                  std::span<const AgeRecipient> recipients) {
  if (max_bytes < kLeastBundle)
    return Error{Errc::limit, "the size limit is below 2 MiB, the least that a bundle needs"};
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  PartFile part(max_bytes);
  part.directory_ = *std::move(own);
  part.name_ = name;
  if (auto able = part.encrypt_to(recipients); !able) return std::move(able).error();
  for (unsigned copy = 1; copy < kMaxCopies && !part.file_; ++copy) {
    auto looked = Status(Done{});
    if (part.is_taken(copy, looked)) continue;
    if (!looked) return std::move(looked).error();
    part.part_name_ = part.file_name(copy) + ".part";
    auto made = sys::openat2(part.directory_->fd(), part.part_name_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                             RESOLVE_BENEATH, 0600);
    if (made) {
      part.file_ = *std::move(made);
      part.copy_ = copy;
    } else if (made.error().number != EEXIST) {
      return std::move(made).error();
    }
  }
  if (!part.file_) return Error{Errc::limit, "every name like " + part.file_name(1) + " is taken"};
  auto room = part.make_room(kTailBytes);
  if (room) room = part.begin();
  if (room) room = sys::fsync_directory(part.directory_->fd(), part.directory_->name());
  if (!room) {  // empty, and ours: nothing is lost with it
    const auto gone = sys::unlinkat(part.directory_->fd(), part.part_name_);
    return gone ? std::move(room).error() : std::move(room).error().within(part.part_name_ + " stays behind");
  }
  return part;
}

Result<PartFile> PartFile::stream(UniqueFd file, std::string_view name, std::uint64_t max_bytes,
                                  std::span<const AgeRecipient> recipients) {
  PartFile part(max_bytes);
  part.file_ = std::move(file);
  part.name_ = name;
  if (auto able = part.encrypt_to(recipients); !able) return std::move(able).error();
  part.part_name_ = part.file_name(1);
  if (auto begun = part.begin(); !begun) return std::move(begun).error();
  return part;
}

bool PartFile::surely_fits(std::uint64_t more_bytes) const {
  const std::uint64_t end = stored_for(length_ + more_bytes + ending_ + kTailBytes);
  return (end <= allocated_ || !directory_) && end <= max_bytes_;
}

// Blocks for that many plain bytes belong to the file afterwards, or Errc::full.
Status PartFile::make_room(std::uint64_t plain_end) {
  const std::uint64_t end = stored_for(plain_end);
  if (end > max_bytes_) return Error{Errc::full, part_name_ + ": the size limit is reached"};
  if (end <= allocated_ || !directory_) return Done{};
  if (!allocates_) return ask_file_system(end);
  const std::uint64_t from = std::max(allocated_.load(), stored_.load());
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
  const std::uint64_t missing = end - stored_ + kStatfsMargin;
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
  Tail tail(*this);
  auto written = encryptor_ ? encryptor_->write(bytes, tail) : tail.write(bytes);
  if (!written) return roll_back(std::move(written).error());
  if (hash_) hash_->update(bytes);
  length_ += bytes.size();
  return Done{};
}

Status PartFile::roll_back(Error error) {
  if (is_full(error)) error.code = Errc::full;
  if (!directory_ || encryptor_) {
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
  auto done = Status(Done{});
  if (encryptor_) {
    Tail tail(*this);
    done = encryptor_->finish(tail);
    broken_ = !done;
  }
  if (!directory_ && done) return part_name_;
  if (done) done = sys::ftruncate(file_.get(), stored_, part_name_);
  if (done) done = sys::fsync(file_.get(), part_name_);
  if (!done) return std::move(done).error();
  for (unsigned copy = copy_; copy < kMaxCopies; ++copy) {
    const std::string final_name = file_name(copy);
    auto renamed = rename_new(*directory_, part_name_, final_name);
    if (renamed) {
      part_name_ = final_name;
      if (auto synced = sys::fsync_directory(directory_->fd(), directory_->name()); !synced)
        return std::move(synced).error().within("whole, but its name may be lost with the power");
      return final_name;
    }
    if (renamed.error().number != EEXIST) return std::move(renamed).error();
  }
  return Error{Errc::limit, "every name like " + file_name(1) + " is taken"};
}

}  // namespace ctriage::bundle
