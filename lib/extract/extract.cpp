#include "lib/extract/extract.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/model/json.h"

namespace ctriage::extract {
namespace {

constexpr std::size_t kHoleBytes = 4'096;  // of zeros that are not written
constexpr std::size_t kFlushBytes = 64 << 10;
constexpr std::size_t kMaxSafeName = 80;
constexpr std::array<std::byte, 64 << 10> kZeros{};

bool is_zero(std::span<const std::byte> bytes) {  // of one block
  return std::memcmp(bytes.data(), kZeros.data(), bytes.size()) == 0;
}

// One file finds no room; one that is smaller, or the manifest, still may.
bool is_no_space(const Error& error) { return error.number == ENOSPC || error.number == EDQUOT; }

Error no_space(const Error& error) { return {Errc::full, "no space left: not written: " + error.what}; }

}  // namespace

std::string safe_name(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  path = path.substr(path.rfind('/') + 1).substr(0, kMaxSafeName);
  std::string name(path);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_';
    if (!plain) c = '_';
  }
  return name.empty() ? "object" : name;
}

Extraction::Extraction(Root directory, NewFile manifest, std::uint64_t max_bytes, std::uint64_t hole_bytes,
                       Task& task)
    : directory_(std::move(directory)),
      manifest_(std::move(manifest)),
      left_bytes_(max_bytes),
      max_bytes_(max_bytes),
      left_hole_bytes_(hole_bytes),
      hole_bytes_(hole_bytes),
      task_(task) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i].kind = static_cast<ObjectKind>(i);
}

Result<std::unique_ptr<Extraction>> Extraction::create(const Root& directory, std::uint64_t max_bytes,
                                                       Task& task, std::uint64_t hole_bytes) {
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  auto manifest = NewFile::create(directory, std::string(kManifest), UINT64_MAX);
  if (!manifest) return std::move(manifest).error();
  return std::unique_ptr<Extraction>(
      new Extraction(*std::move(own), *std::move(manifest), max_bytes, hole_bytes, task));
}

Result<int> Extraction::directory_of(ObjectKind kind) {
  UniqueFd& directory = directories_[static_cast<std::size_t>(kind)];
  if (directory) return directory.get();
  const std::string name(to_text(kind));
  if (auto made = sys::mkdirat(directory_.fd(), name, 0700); !made) return std::move(made).error();
  auto opened = sys::openat2(directory_.fd(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
  if (!opened) return std::move(opened).error();
  directory = *std::move(opened);
  return directory.get();
}

void Extraction::tell(const ExtractedObject& object, Error why) {
  task_.gaps.add(
      {Impact::lost, "extract." + std::string(to_text(object.kind)), object.path.raw, std::move(why)});
}

Status Extraction::flush() {
  if (broken_) return *broken_;
  if (block_.empty()) return Done{};
  manifest_hash_.update(block_);
  auto written = manifest_.write(std::as_bytes(std::span(block_)));
  block_.clear();
  if (!written) broken_ = written.error();
  return written;
}

Status Extraction::line(const ExtractedObject& object) {
  if (entries_ >= kMaxExtractedEntries) {
    tell(object,
         {Errc::limit, "over " + with_commas(kMaxExtractedEntries) + " lines of the manifest: not in it"});
    return Done{};
  }
  ++entries_;
  std::string text;
  JsonWriter writer(text);
  writer.begin_object();
  writer.member_value("schema", schema_of<ExtractedObject>());
  writer.members(object);
  writer.end_object();
  block_ += text + "\n";
  return block_.size() < kFlushBytes ? Status(Done{}) : flush();
}

Status Extraction::entry(ExtractedObject&& object) {
  object.complete = true;
  ++counts_[static_cast<std::size_t>(object.kind)].entries;
  return line(object);
}

Status Extraction::open_file(Current& current) {
  const auto directory = directory_of(current.object.kind);
  if (!directory) return directory.error();
  current.name = fmt::format("{:06}-{}", files_ + 1, safe_name(current.object.path.view()));
  auto made =
      sys::openat2(*directory, current.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, RESOLVE_BENEATH, 0600);
  if (!made) return std::move(made).error();
  current.file = *std::move(made);
  ++files_;
  current.object.file = std::string(to_text(current.object.kind)) + "/" + current.name;
  return Done{};
}

Status Extraction::begin(ExtractedObject&& object) {
  current_.emplace();
  current_->object = std::move(object);
  if (files_ < kMaxExtractedFiles) {
    auto opened = open_file(*current_);
    if (opened || !is_no_space(opened.error())) return opened;
    current_->left_out = no_space(opened.error());
    return Done{};
  }
  current_->left_out = Error{Errc::limit, "over " + with_commas(kMaxExtractedFiles) + " files: not written"};
  return Done{};
}

// What is not kept whole is not kept.
void Extraction::drop(Error why) {
  Current& current = *current_;
  current.left_out = std::move(why);
  if (!current.file) return;
  current.file = {};
  left_bytes_ += current.data;
  current.data = 0;
  const UniqueFd& directory = directories_[static_cast<std::size_t>(current.object.kind)];
  const auto gone = sys::unlinkat(directory.get(), current.name);
  if (!gone) current.left_out->what += "; " + current.name + " stays behind: " + gone.error().what;
  current.object.file.reset();
}

Status Extraction::pass_hole(std::uint64_t until) {
  Current& current = *current_;
  const std::uint64_t hole = until - current.hashed;
  if (hole > kMaxHoleBytes - std::min(current.holes, kMaxHoleBytes)) {
    current.too_sparse = Error{Errc::limit, "over " + human_size(kMaxHoleBytes) + " of holes: cut there"};
    return Done{};
  }
  if (hole > left_hole_bytes_) {
    current.too_sparse =
        Error{Errc::limit, "over " + human_size(hole_bytes_) + " of holes in all objects: cut there"};
    return Done{};
  }
  current.holes += hole;
  left_hole_bytes_ -= hole;
  while (current.hashed < until) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    const auto count = std::min<std::uint64_t>(kZeros.size(), until - current.hashed);
    current.hash.update(std::span(kZeros).first(static_cast<std::size_t>(count)));
    current.hashed += count;
  }
  return Done{};
}

Status Extraction::keep(std::uint64_t offset, std::span<const std::byte> bytes) {
  Current& current = *current_;
  if (bytes.empty() || current.left_out) return Done{};
  if (bytes.size() > left_bytes_) {
    drop({Errc::full, "does not fit into --max-bytes " + std::to_string(max_bytes_) + ": not written"});
    return Done{};
  }
  if (auto written = sys::pwrite_all(current.file.get(), bytes, offset, current.name); !written) {
    const int why = written.error().number;
    if (is_no_space(written.error()))
      drop(no_space(written.error()));
    else if (why == EFBIG || why == EINVAL)
      drop(std::move(written).error());  // an offset that no file can have
    else
      return written;
    return Done{};
  }
  left_bytes_ -= bytes.size();
  current.data += bytes.size();
  return Done{};
}

Status Extraction::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  Current& current = *current_;
  if (current.too_sparse) return Done{};
  if (offset > current.hashed) {
    if (auto passed = pass_hole(offset); !passed) return passed;
    if (current.too_sparse) return Done{};
  }
  current.hash.update(bytes);
  current.hashed = offset + bytes.size();
  // Runs that are not zeros, by blocks of the file.
  std::size_t begin = 0;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::size_t in_block = static_cast<std::size_t>((offset + at) % kHoleBytes);
    const std::size_t count = std::min(kHoleBytes - in_block, bytes.size() - at);
    if (is_zero(bytes.subspan(at, count))) {
      if (auto kept = keep(offset + begin, bytes.subspan(begin, at - begin)); !kept) return kept;
      begin = at + count;
    }
    at += count;
  }
  return keep(offset + begin, bytes.subspan(begin));
}

Status Extraction::end(std::uint64_t size_bytes, std::optional<Error> missing) {
  Current& current = *current_;
  if (!current.too_sparse && size_bytes > current.hashed) {
    if (auto passed = pass_hole(size_bytes); !passed) return passed;
  }
  ExtractedObject& object = current.object;
  if (current.too_sparse && !missing) missing = *current.too_sparse;
  const std::uint64_t size = current.too_sparse ? current.hashed : size_bytes;
  if (current.file) {
    if (auto set = sys::ftruncate(current.file.get(), size, current.name); !set) {
      if (!is_no_space(set.error())) return set;
      drop(no_space(set.error()));
    }
  }
  if (current.left_out && !missing) missing = *current.left_out;
  ObjectCount& count = counts_[static_cast<std::size_t>(object.kind)];
  object.size_bytes = size_bytes;
  object.sha256 = to_hex(current.hash.digest());
  object.complete = !missing;
  if (current.file) {
    object.data_bytes = current.data;
    ++count.files;
    count.size_bytes += size;
    count.data_bytes += current.data;
  }
  if (missing) {
    ++count.incomplete;
    object.why = Bytes(missing->what);
    tell(object, *std::move(missing));
  }
  auto written = line(object);
  // A file without its line has lost its name: what comes after this one may end us.
  if (written && current.file) written = flush();
  current_.reset();
  return written;
}

Result<Digest> Extraction::seal() {
  if (current_) {
    Current& current = *current_;
    const std::uint64_t size = current.hashed;
    if (auto ended = end(size, Error{Errc::stopped, "ended while it was written"}); !ended)
      return std::move(ended).error();
  }
  if (auto written = flush(); !written) return std::move(written).error();
  if (auto sealed = manifest_.seal(); !sealed) return std::move(sealed).error();
  return manifest_hash_.digest();
}

}  // namespace ctriage::extract
