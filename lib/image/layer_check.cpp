#include "lib/image/layer_check.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "lib/archive/layer_reader.h"
#include "lib/core/hash.h"
#include "lib/core/path.h"
#include "lib/model/file_mode.h"

namespace ctriage::image {
namespace {

constexpr std::size_t kBlockBytes = 64 << 10;
constexpr std::string_view kWhiteout = ".wh.";  // OCI image-spec layer.md "Whiteouts"
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kReserved = ".wh..wh.";

class Hashing final : public ByteSource {
 public:
  Hashing(ByteSource& in, const Task& task) : in_(in), task_(task) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
    auto got = in_.read(into);
    if (got) hash_.update(into.first(*got));
    if (got) task_.passed(*got);
    return got;
  }
  // libarchive leaves what follows the tar's end.
  Result<std::string> digest() {
    std::vector<std::byte> block(kBlockBytes);
    while (true) {
      auto got = read(block);
      if (!got) return std::move(got).error();
      if (*got == 0) return "sha256:" + to_hex(hash_.digest());
    }
  }
  [[nodiscard]] std::uint64_t size_bytes() const { return hash_.size_bytes(); }

 private:
  ByteSource& in_;
  const Task& task_;
  Sha256 hash_;
};

bool is_opaque(const FileState& state) {
  return std::ranges::any_of(state.xattrs, [](const XattrRecord& xattr) {
    const std::string_view name = xattr.name.view();
    return (name.ends_with(".overlay.opaque") || name == "user.fuseoverlayfs.opaque") &&
           xattr.value.view() == "y";
  });
}

class Comparer {
 public:
  Comparer(const LayerPlace& place, bool contents, LayerCheck& into, Task& task)
      : place_(place), contents_(contents), into_(into), task_(task) {}
  Status entry(const archive::LayerReader::Entry& entry, archive::LayerReader& reader);
  Status find_added();

 private:
  Result<OpenedFile> open(std::string& path);
  Status compare(const archive::LayerReader::Entry& entry, const std::string& path,
                 archive::LayerReader& reader);
  Result<bool> same_bytes(archive::LayerReader& reader, ByteSource& file);
  void saw(std::string_view path);

  const LayerPlace& place_;
  bool contents_;
  LayerCheck& into_;
  Task& task_;
  std::unordered_set<std::string> seen_;
  std::size_t seen_bytes_ = 0;
  bool all_seen_ = true;
};

void Comparer::saw(std::string_view path) {
  while (path.size() > 1 && all_seen_) {
    if (seen_.size() >= kMaxLayerNames || seen_bytes_ + path.size() > kMaxLayerNameBytes) {
      all_seen_ = false;
      return;
    }
    if (!seen_.emplace(path).second) return;
    seen_bytes_ += path.size();
    path = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  }
}

// Where a directory on the way is a link in a layer below, engines unpack to where that leads: `path` is then
// that one.
Result<OpenedFile> Comparer::open(std::string& path) {
  auto file = place_.layer.open(path, task_);
  if (file || !file.error().is_gone()) return file;
  auto parent = place_.merged.open(parent_of(path), task_);
  if (!parent || parent->entry.path.raw == parent_of(path)) return file;
  std::string elsewhere = child_of(parent->entry.path.raw, name_of(path));
  auto again = place_.layer.open(elsewhere, task_);
  if (!again) return file;
  path = std::move(elsewhere);
  return again;
}

Result<bool> Comparer::same_bytes(archive::LayerReader& reader, ByteSource& file) {
  std::vector<std::byte> ours(kBlockBytes);
  std::vector<std::byte> theirs(kBlockBytes);
  while (true) {
    auto got = reader.read(ours);
    if (!got) return std::move(got).error();
    std::size_t filled = 0;
    while (filled < std::max<std::size_t>(*got, 1)) {
      auto more = file.read(std::span(theirs).subspan(filled, std::max<std::size_t>(*got, 1) - filled));
      if (!more) return std::move(more).error();
      if (*more == 0) break;
      filled += *more;
    }
    if (filled != *got || std::memcmp(ours.data(), theirs.data(), filled) != 0) return false;
    if (*got == 0) return true;
  }
}

Status Comparer::compare(const archive::LayerReader::Entry& entry, const std::string& named,
                         archive::LayerReader& reader) {
  std::string path = named;
  auto file = open(path);
  saw(path);
  if (!file) {
    if (!file.error().is_gone()) return std::move(file).error();
    add_difference(into_, path, "missing");
    return Done{};
  }
  const FileState& state = file->entry.file;
  if (!entry.hard_link_of.empty()) {
    std::string target = "/" + entry.hard_link_of;
    while (target.starts_with("//") || target.starts_with("/./")) target.erase(0, target[1] == '/' ? 1 : 2);
    const auto other = open(target);
    if (!other || other->entry.file.inode != state.inode) add_difference(into_, path, "link");
    return Done{};
  }
  if (type_of_mode(entry.mode) != state.type) {
    add_difference(into_, path, "type");
    return Done{};
  }
  if (state.type != FileType::symlink && (entry.mode & 07777U) != state.mode)
    add_difference(into_, path, "mode");
  if (place_.owners && (entry.uid != state.uid || entry.gid != state.gid))
    add_difference(into_, path, "owner");
  if (state.type == FileType::symlink && state.link_target.value_or(Bytes()).raw != entry.link_target)
    add_difference(into_, path, "target");
  if (!entry.regular) return Done{};
  if (entry.size_bytes != state.size_bytes) {
    add_difference(into_, path, "size");
  } else if (contents_ && file->bytes) {
    const auto same = same_bytes(reader, *file->bytes);
    if (!same) return same.error();
    if (!*same) add_difference(into_, path, "content");
  }
  return Done{};
}

Status Comparer::entry(const archive::LayerReader::Entry& entry, archive::LayerReader& reader) {
  std::string_view name = entry.path;
  while (name.starts_with('/') || name.starts_with("./")) name.remove_prefix(name.front() == '/' ? 1 : 2);
  while (name.ends_with('/')) name.remove_suffix(1);
  if (name.empty() || name == ".") return Done{};  // the top: its owner and mode are the lowest layer's
  ++into_.entries;
  const std::string path = "/" + std::string(name);
  const std::string_view last = name_of(path);
  if (last == "..") return Error{Errc::malformed, "the layer's tar has an entry ..: " + path};
  if (last == kOpaque) {
    std::string directory = parent_of(path);
    const auto found = open(directory);
    saw(directory);
    if (!found || !is_opaque(found->entry.file)) add_difference(into_, directory, "opaque");
    return Done{};
  }
  if (last.starts_with(kReserved)) return Done{};  // aufs' own, which nobody unpacks
  if (last.starts_with(kWhiteout)) {
    std::string gone = child_of(parent_of(path), last.substr(kWhiteout.size()));
    auto found = open(gone);
    saw(gone);
    saw(path);
    const bool device =
        found && found->entry.file.type == FileType::character && found->entry.file.rdev.value == 0;
    std::string plain = path;
    if (!device && !open(plain)) add_difference(into_, gone, "missing");
    return Done{};
  }
  return compare(entry, path, reader);
}

// Everything in the directory that no entry named.
Status Comparer::find_added() {
  if (!all_seen_) {
    task_.gaps.add({Impact::degraded, "image.layer", into_.path.raw,
                    Error{Errc::limit, "too many names to tell which files were added to the layer"}});
    return Done{};
  }
  std::vector<std::string> pending{"/"};
  std::size_t looked = 0;
  while (!pending.empty()) {
    const std::string directory = std::move(pending.back());
    pending.pop_back();
    auto listed = place_.layer.list(
        directory,
        [&](FileEntry&& entry) -> Status {
          if (++looked > 2 * kMaxLayerNames) return Error{Errc::limit, "the layer has too many files"};
          const std::string& path = entry.path.raw;
          if (!seen_.contains(path))
            add_difference(into_, path, "added");
          else if (entry.file.type == FileType::directory)
            pending.push_back(path);
          return Done{};
        },
        task_);
    if (!listed) return listed;
  }
  return Done{};
}

}  // namespace

void add_difference(LayerCheck& into, const std::string& path, std::string what) {
  if (!into.differences.empty() && into.differences.back().path.raw == path) {
    into.differences.back().differs.push_back(std::move(what));
  } else if (into.differences.size() < kMaxListedDifferences) {
    into.differences.push_back({Bytes(path), {std::move(what)}});
  } else {
    ++into.more_differences;
  }
}

Result<std::string> compare_layer(ByteSource& tar, const LayerPlace& place, bool contents, LayerCheck& into,
                                  Task& task) {
  Hashing hashing(tar, task);
  auto reader = archive::LayerReader::open(hashing);
  if (!reader) return std::move(reader).error();
  Comparer comparer(place, contents, into, task);
  archive::LayerReader::Entry entry;
  while (true) {
    auto more = (*reader)->next(entry);
    if (!more) return std::move(more).error();
    if (!*more) break;
    if (auto compared = comparer.entry(entry, **reader); !compared) return std::move(compared).error();
  }
  if (auto found = comparer.find_added(); !found) return std::move(found).error();
  auto digest = hashing.digest();
  into.bytes = hashing.size_bytes();
  return digest;
}

}  // namespace ctriage::image
