#include "lib/archive/layer_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

namespace ctriage::archive {
namespace {

constexpr std::size_t kHoleStepBytes = 256 << 20;
constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

struct FreeArchive {
  void operator()(::archive* a) const { archive_write_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};

using SetTime = void (*)(archive_entry*, time_t, long);

// libarchive writes "seconds.nanoseconds" with the two as they are, but a pax time before 1970 counts its
// fraction downwards, pax(1): -5 s + 0.25 s is "-4.75". Between -1 s and 0 it cannot be said through
// libarchive; whole seconds then.
void set_time(archive_entry* entry, SetTime set, Timestamp at) {
  if (at.seconds >= 0 || at.nanoseconds == 0)
    return set(entry, at.seconds, static_cast<long>(at.nanoseconds));
  if (at.seconds == -1) return set(entry, -1, 0);
  set(entry, at.seconds + 1, 1'000'000'000L - static_cast<long>(at.nanoseconds));
}

// A pax keyword ends at the first '='. GNU tar from 1.35 on encodes '=' and '%' in it, others read a name as
// it stands; so only names are encoded that would be misread without.
std::string xattr_keyword(const std::string& name) {
  const auto has = [&name](const char* text) { return name.find(text) != std::string::npos; };
  if (!has("=") && !has("%3D") && !has("%25")) return name;
  std::string out;
  for (const char c : name) {
    if (c == '%') {
      out += "%25";
    } else if (c == '=') {
      out += "%3D";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::optional<unsigned> mode_type(FileType type) {
  switch (type) {
    case FileType::regular:
      return S_IFREG;
    case FileType::directory:
      return S_IFDIR;
    case FileType::symlink:
      return S_IFLNK;
    case FileType::character:
      return S_IFCHR;
    case FileType::block:
      return S_IFBLK;
    case FileType::fifo:
      return S_IFIFO;
    default:
      return std::nullopt;  // tar has no sockets
  }
}

class PaxWriter final : public LayerWriter {
 public:
  explicit PaxWriter(ByteSink& out) : out_(out), archive_(archive_write_new()), entry_(archive_entry_new()) {}

  // archive_write_free() ends the archive if nobody did, and the sink may be gone by then. It does not close
  // one that failed, and would lose its buffer.
  ~PaxWriter() override {
    abandoned_ = true;
    if (archive_) archive_write_close(archive_.get());
  }
  PaxWriter(const PaxWriter&) = delete;
  PaxWriter& operator=(const PaxWriter&) = delete;

  Status start() {
    if (!archive_ || !entry_) return Error{Errc::limit, "layer: out of memory"};
    ::archive* a = archive_.get();
    // Not hdrcharset=BINARY for all: GNU tar warns about that record once per file. A name that is not ASCII
    // (or not in the locale's character set) gets it by itself, and its bytes go in as they are.
    if (archive_write_set_format_pax(a) != ARCHIVE_OK ||
        archive_write_set_options(a, "xattrheader=SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        archive_write_open2(a, this, nullptr, &PaxWriter::pass_on, nullptr, nullptr) != ARCHIVE_OK) {
      return failure("start");
    }
    return Done{};
  }

  Status begin(const FileChange& change, std::span<const DataRun> runs) override {
    skipping_ = true;
    const std::string_view path =
        std::string_view(change.path.raw).substr(change.path.raw.starts_with('/') ? 1 : 0);
    if (path.empty()) return Done{};
    if (is_whiteout(change)) return whiteout(path);
    if (!change.after) return Done{};
    const FileState& file = *change.after;
    const auto type = mode_type(file.type);
    if (!type) return Done{};

    archive_entry* e = fresh(path, *type | file.mode);
    archive_entry_set_uid(e, file.uid);
    archive_entry_set_gid(e, file.gid);
    set_time(e, archive_entry_set_mtime, file.mtime);
    set_time(e, archive_entry_set_atime, file.atime);
    set_time(e, archive_entry_set_ctime, file.ctime);
    if (change.hard_link_of) {
      const std::string_view first = change.hard_link_of->view();
      archive_entry_copy_hardlink(e, std::string(first.substr(first.starts_with('/') ? 1 : 0)).c_str());
      return put_header(change);
    }
    for (const XattrRecord& xattr : file.xattrs) {
      if (xattr.left_out) continue;
      archive_entry_xattr_add_entry(e, xattr_keyword(xattr.name.raw).c_str(), xattr.value.raw.data(),
                                    xattr.value.raw.size());
    }
    if (file.type == FileType::symlink) {
      archive_entry_copy_symlink(e, file.link_target ? file.link_target->raw.c_str() : "");
    } else if (file.type == FileType::character || file.type == FileType::block) {
      archive_entry_set_rdevmajor(e, static_cast<dev_t>(file.rdev.value >> 32));
      archive_entry_set_rdevminor(e, static_cast<dev_t>(file.rdev.value & 0xffffffff));
    } else if (file.type == FileType::regular) {
      if (auto sized = set_size(change, file.size_bytes, runs); !sized) return sized;
    }
    if (auto written = put_header(change); !written) return written;
    skipping_ = file.type != FileType::regular;
    // The map of a sparse file goes out with the first byte handed over; a file that is one hole has none.
    if (!skipping_ && runs.empty() && size_ > 0) {
      if (auto stepped = step_over_hole(1); !stepped) return stepped;
      at_ = 1;
    }
    if (file.type == FileType::directory && is_opaque(change)) {
      if (auto ended = end(); !ended) return ended;
      return marker(std::string(path).append("/").append(kOpaqueName));
    }
    return Done{};
  }

  Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
              const std::shared_ptr<LateSha256>& hash) override {
    if (skipping_) return Done{};
    if (offset_bytes < at_ || bytes.size() > size_ || offset_bytes > size_ - bytes.size()) {
      return Error{Errc::malformed, "layer: data at " + std::to_string(offset_bytes) + " is out of order"};
    }
    if (auto stepped = step_over_hole(offset_bytes - at_); !stepped) return stepped;
    at_ = offset_bytes + bytes.size();
    to_hash_ = hash ? bytes : std::span<const std::byte>();
    hash_ = hash;
    auto written = put(bytes);
    to_hash_ = {};
    hash_ = nullptr;
    return written;
  }

  Status end() override {
    if (archive_write_finish_entry(archive_.get()) != ARCHIVE_OK) return failure("end of entry");
    skipping_ = true;
    return Done{};
  }

  Status finish() override {
    if (archive_write_close(archive_.get()) != ARCHIVE_OK) return failure("end of archive");
    return Done{};
  }

 private:
  static bool is_whiteout(const FileChange& change) {
    return change.kind == ChangeKind::deleted ||
           (change.after && change.after->type == FileType::character && change.after->rdev.value == 0);
  }

  // Also where it is not known what the directory hides: that it does is in its attributes.
  static bool is_opaque(const FileChange& change) {
    if (change.kind == ChangeKind::opaque) return true;
    return change.kind == ChangeKind::unknown &&
           std::any_of(change.after->xattrs.begin(), change.after->xattrs.end(), [](const XattrRecord& x) {
             return x.name.raw == "trusted.overlay.opaque" && x.value.raw == "y";
           });
  }

  archive_entry* fresh(std::string_view path, unsigned mode) {
    archive_entry* e = archive_entry_clear(entry_.get());
    archive_entry_copy_pathname(e, std::string(path).c_str());
    archive_entry_set_mode(e, mode);
    archive_entry_set_size(e, 0);
    size_ = at_ = 0;
    return e;
  }

  Status whiteout(std::string_view path) {
    const auto slash = path.rfind('/') + 1;  // npos + 1 is 0
    return marker(std::string(path.substr(0, slash)).append(kWhiteoutPrefix).append(path.substr(slash)));
  }

  Status marker(const std::string& path) {
    archive_entry* e = fresh(path, S_IFREG);
    archive_entry_set_mtime(e, 0, 0);
    if (archive_write_header(archive_.get(), e) < ARCHIVE_WARN || sink_error_) return failure(path);
    return Done{};
  }

  Status set_size(const FileChange& change, std::uint64_t size, std::span<const DataRun> runs) {
    if (size > static_cast<std::uint64_t>(INT64_MAX)) {
      return Error{Errc::limit, "layer: " + change.path.raw + ": size over 2^63"};
    }
    size_ = size;
    archive_entry_set_size(entry_.get(), static_cast<std::int64_t>(size));
    const bool whole =
        size == 0 || (runs.size() == 1 && runs[0].offset_bytes == 0 && runs[0].size_bytes == size);
    if (whole) return Done{};
    for (const DataRun& run : runs) {
      archive_entry_sparse_add_entry(entry_.get(), static_cast<std::int64_t>(run.offset_bytes),
                                     static_cast<std::int64_t>(run.size_bytes));
    }
    // No data at all: a run of nothing at the end makes it sparse all the same, as GNU tar does it.
    if (runs.empty()) archive_entry_sparse_add_entry(entry_.get(), static_cast<std::int64_t>(size), 0);
    return Done{};
  }

  Status put_header(const FileChange& change) {
    // ARCHIVE_WARN: written, with a name in no character set.
    if (archive_write_header(archive_.get(), entry_.get()) < ARCHIVE_WARN || sink_error_)
      return failure(change.path.raw);
    return Done{};
  }

  Status put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const la_ssize_t written = archive_write_data(archive_.get(), bytes.data(), bytes.size());
      if (written <= 0) return failure("data");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return Done{};
  }

  // libarchive counts a hole's bytes as they are handed over and writes none. What is handed over is memory
  // that is never touched, so a petabyte is some thousand calls.
  Status step_over_hole(std::uint64_t bytes) {
    if (bytes > 0 && !nothing_) {
      nothing_.reset(static_cast<std::byte*>(std::calloc(kHoleStepBytes, 1)));
      if (!nothing_) return Error{Errc::limit, "layer: out of memory"};
    }
    while (bytes > 0) {
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kHoleStepBytes));
      if (auto written = put({nothing_.get(), step}); !written) return written;
      bytes -= step;
    }
    return Done{};
  }

  static la_ssize_t pass_on(::archive* a, void* self, const void* bytes, std::size_t size) {
    auto& writer = *static_cast<PaxWriter*>(self);
    if (writer.abandoned_) return static_cast<la_ssize_t>(size);
    const std::span piece(static_cast<const std::byte*>(bytes), size);
    auto written =
        writer.is_to_hash(piece) ? writer.out_.write_hashed(piece, writer.hash_) : writer.out_.write(piece);
    if (!written) {
      writer.sink_error_ = std::move(written).error();
      archive_set_error(a, EIO, "sink");
      return -1;
    }
    return static_cast<la_ssize_t>(size);
  }

  // libarchive hands content on as it is, without a copy; what else it writes lies elsewhere.
  [[nodiscard]] bool is_to_hash(std::span<const std::byte> piece) const {
    const std::less_equal<const std::byte*> not_after;
    return !to_hash_.empty() && not_after(to_hash_.data(), piece.data()) &&
           not_after(piece.data() + piece.size(), to_hash_.data() + to_hash_.size());
  }

  // What the sink said, unchanged: the caller tells a full disk from a stop.
  Error failure(std::string_view where) {
    if (sink_error_) return *sink_error_;
    const char* why = archive_ ? archive_error_string(archive_.get()) : nullptr;
    return {Errc::io,
            std::string("layer: ").append(where).append(": ").append(why != nullptr ? why : "failed")};
  }

  ByteSink& out_;
  std::optional<Error> sink_error_;
  bool abandoned_ = false;
  std::unique_ptr<std::byte[], FreeMemory> nothing_;
  std::unique_ptr<::archive, FreeArchive> archive_;
  std::unique_ptr<archive_entry, FreeEntry> entry_;
  std::uint64_t size_ = 0;  // of the entry
  std::uint64_t at_ = 0;    // up to where it was written
  bool skipping_ = true;    // nothing of this entry goes into the archive
  std::span<const std::byte> to_hash_;
  std::shared_ptr<LateSha256> hash_;
};

}  // namespace

Result<std::unique_ptr<LayerWriter>> LayerWriter::open(ByteSink& out) {
  auto writer = std::make_unique<PaxWriter>(out);
  if (auto started = writer->start(); !started) return std::move(started).error();
  return std::unique_ptr<LayerWriter>(std::move(writer));
}

}  // namespace ctriage::archive
