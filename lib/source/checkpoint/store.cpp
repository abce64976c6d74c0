#include "lib/source/checkpoint/store.h"

#include <algorithm>
#include <array>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/source/checkpoint/kept_bytes.h"

namespace ctriage::source {
namespace {

using archive::BytesAt;
using archive::TarMember;

constexpr std::size_t kMaxDepth = 8;  // directories below the one that was named
constexpr std::size_t kMaxKeptFileBytes = 1 << 20;
// The end of a pages file has the top of the stack, where arguments and environment lie.
constexpr std::size_t kPagesTailBytes = 128 << 10;
constexpr std::size_t kMaxKeptMembers = 65'536;       // of the layer in a compressed archive
constexpr std::size_t kMaxKeptMemberBytes = 8 << 20;  // of all layers in it
constexpr std::size_t kMaxIndexBytes = 32 << 20;      // of the names of one archive or directory

Error no_such(std::string_view name) { return {Errc::not_found, std::string(name) + ": no such file"}; }

std::string_view base_name(std::string_view name) { return name.substr(name.rfind('/') + 1); }

// What one more member takes in memory: names and links may have 4 KiB each.
std::size_t cost_of(std::string_view name, std::string_view link) {
  return name.size() + link.size() + sizeof(TarMember);
}

Error over_index() { return {Errc::limit, "names take over " + std::to_string(kMaxIndexBytes) + " bytes"}; }

bool is_pages(std::string_view name) { return base_name(name).starts_with("pages-"); }

// What the reading of a checkpoint asks for: images and the records of the engine.
bool is_asked_for(std::string_view name) {
  const std::string_view base = base_name(name);
  constexpr std::array<std::string_view, 8> kNames{"status",         "stats-dump",    "bind.mounts",
                                                   "network.status", "deleted.files", "pod.options",
                                                   "index.json",     "oci-layout"};
  return base.ends_with(".img") || base.ends_with(".dump") || base.ends_with(".json") ||
         name.starts_with("blobs/") || std::ranges::find(kNames, base) != kNames.end();
}

Result<archive::Compression> compression_of(BytesAt& bytes) {
  std::array<std::byte, 8> first{};
  auto got = bytes.read_at(0, first);
  if (!got) return std::move(got).error();
  return archive::find_compression(std::span(first).first(*got));
}

// The members of a tar, which may be compressed.
Status list_members(BytesAt& tar, const Emit<TarMember>& emit, const Task& task) {
  auto compression = compression_of(tar);
  if (!compression) return std::move(compression).error();
  if (*compression == archive::Compression::none) return archive::index_tar(tar, emit, task);
  auto unpacked = archive::decompress(tar, *compression, task);
  if (!unpacked) return std::move(unpacked).error();
  return archive::index_tar(**unpacked, emit, task);
}

class TarStore final : public CheckpointStore {
 public:
  TarStore(std::unique_ptr<BytesAt> file, std::string name, const TarOptions& options)
      : CheckpointStore(std::move(name)), file_(std::move(file)), options_(options) {}

  Status read_index(const Task& task) {
    auto compression = compression_of(*file_);
    if (!compression) return std::move(compression).error();
    compression_ = *compression;
    tar_ = file_.get();
    if (compression_ != archive::Compression::none) {
      auto unpacked = archive::decompress(*file_, compression_, task, options_.most_bytes);
      if (!unpacked) return std::move(unpacked).error();
      keeping_ = std::make_unique<KeepingBytes>(*std::move(unpacked));
    } else if (!file_->size_bytes()) {  // a pipe: in order, too
      keeping_ = std::make_unique<KeepingBytes>(std::move(file_));
    }
    if (keeping_) tar_ = keeping_.get();
    auto indexed = archive::index_tar(
        *tar_, [&](TarMember&& member) { return add(std::move(member), task); }, task);
    if (indexed || (has_records_ && has_inventory_)) return Done{};
    if (auto go_on = task.check(); !go_on) return go_on;
    if (files_.empty()) return indexed;
    task.gaps.add({Impact::lost, "checkpoint.archive", name_, std::move(indexed).error()});
    return Done{};
  }

  [[nodiscard]] std::string form() const override {
    const bool spooled = options_.spooled != archive::Compression::none;
    return std::string(archive::to_text(spooled ? options_.spooled : compression_)) + " tar";
  }

  [[nodiscard]] bool is_in_order() const override { return keeping_ != nullptr; }

  Result<std::unique_ptr<BytesAt>> bytes_of(std::string_view name) override {
    auto file = regular(name);
    if (!file) return std::move(file).error();
    return archive::part_of(*tar_, (*file)->offset, (*file)->size_bytes);
  }

  Status list_tar(std::string_view name, const Emit<TarMember>& emit, const Task& task) override {
    const auto kept = layers_.find(name);
    if (kept == layers_.end()) return CheckpointStore::list_tar(name, emit, task);
    for (const TarMember& member : kept->second.members) {
      if (auto taken = emit(TarMember(member)); !taken) return taken;
    }
    return kept->second.end;
  }

 private:
  struct Layer {
    std::vector<TarMember> members;
    Status end = Done{};
  };

  Status add(TarMember&& member, const Task& task) {
    auto name = plain_member_name(member.name);
    if (!name) {
      if (member.type != '5')
        leave_out(member.name, {Errc::outside, "a name that leads out of the archive: not looked at"}, task);
      return Done{};
    }
    if (member.sparse) {
      leave_out(member.name, {Errc::unsupported, "stored with tar's own map of holes: not looked at"}, task);
      return Done{};
    }
    StoredFile file{FileType::regular, member.size_bytes, member.mtime, {}, member.offset};
    if (member.type == '5') file.type = FileType::directory;
    if (member.type == '2') {
      file.type = FileType::symlink;
      file.link = std::move(member.link);
    }
    if (member.type == '1') {
      const auto of = plain_member_name(member.link);
      const StoredFile* first = of ? find(*of) : nullptr;
      if (first == nullptr) {
        leave_out(member.name, {Errc::not_found, "a hard link to what is not in the archive before it"},
                  task);
        return Done{};
      }
      file = *first;
    } else if (std::string_view("025").find(member.type) == std::string_view::npos) {
      file.type = FileType::unknown;
    }
    const std::size_t cost = cost_of(*name, file.link);
    if (cost > index_room_bytes_) return over_index();
    index_room_bytes_ -= cost;
    // Unpacked, the last one would win.
    if (const auto before = files_.find(*name);
        before != files_.end() && before->second.type != FileType::directory) {
      task.gaps.add({Impact::degraded,
                     "checkpoint.member",
                     name_ + "!" + *name,
                     {Errc::mismatch, "is in the archive more than once: the last is taken"}});
    }
    // Of a hard link it is kept with the first name: going back for each would unpack it all again.
    if (keeping_ && file.type == FileType::regular && member.type != '1') {
      if (auto kept = keep(*name, file, task); !kept) return kept;
    }
    const std::string last(base_name(*name));
    const std::string directory = name->substr(0, name->size() - last.size());
    files_[*std::move(name)] = std::move(file);
    if (!options_.records_only || !keeping_) return Done{};
    has_inventory_ = has_inventory_ || last == "inventory.img";  // when it was taken, where nothing else says
    // Those of a container in a directory may be one of several: a pod's.
    has_records_ =
        has_records_ || (directory.empty() && find("config.dump") != nullptr && find("spec.dump") != nullptr);
    const bool enough = has_records_ && has_inventory_;
    return enough ? Status(Error{Errc::stopped, "the records were met"}) : Status(Done{});
  }

  // Going back costs unpacking from the beginning, so what will be asked for is read as it passes.
  Status keep(const std::string& name, const StoredFile& file, const Task& task) {
    if (options_.records_only && (is_pages(name) || base_name(name) == "rootfs-diff.tar")) return Done{};
    if (base_name(name) == "rootfs-diff.tar") {
      Layer layer;
      std::size_t room = layer_room_bytes_;
      bool fits = true;
      const auto part = archive::part_of(*keeping_, file.offset, file.size_bytes);
      const Emit<TarMember> one = [&](TarMember&& member) -> Status {
        const std::size_t cost = cost_of(member.name, member.link);
        fits = layer.members.size() < kMaxKeptMembers && cost <= room;
        if (!fits) return Error{Errc::limit, "more than is kept"};
        room -= cost;
        layer.members.push_back(std::move(member));
        return Done{};
      };
      layer.end = list_members(*part, one, task);
      if (auto go_on = task.check(); !go_on) return go_on;
      layers_.erase(name);       // one of the same name before it
      if (!fits) return Done{};  // it is read again when asked for
      layer_room_bytes_ = room;
      layers_.emplace(name, std::move(layer));
      return Done{};
    }
    if (is_pages(name)) {
      const auto size = std::min<std::uint64_t>(file.size_bytes, kPagesTailBytes);
      return keeping_->keep(file.offset + file.size_bytes - size, static_cast<std::size_t>(size));
    }
    if (!is_asked_for(name) || file.size_bytes > kMaxKeptFileBytes) return Done{};
    return keeping_->keep(file.offset, static_cast<std::size_t>(file.size_bytes));
  }

  void leave_out(const std::string& member, Error error, const Task& task) const {
    task.gaps.add({Impact::lost, "checkpoint.member", name_ + "!" + member, std::move(error)});
  }

  std::unique_ptr<BytesAt> file_;
  TarOptions options_;
  bool has_records_ = false;
  bool has_inventory_ = false;
  archive::Compression compression_ = archive::Compression::none;
  std::unique_ptr<KeepingBytes> keeping_;
  BytesAt* tar_ = nullptr;
  std::map<std::string, Layer, std::less<>> layers_;
  std::size_t layer_room_bytes_ = kMaxKeptMemberBytes;
  std::size_t index_room_bytes_ = kMaxIndexBytes;
};

class DirectoryStore final : public CheckpointStore {
 public:
  explicit DirectoryStore(Root directory)
      : CheckpointStore(directory.name()), directory_(std::move(directory)) {}

  Status walk(const Root& at, const std::string& prefix, std::size_t depth, const Task& task) {
    std::string after;
    for (bool more = true; more;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto block = list_names(at, after);
      if (!block) return std::move(block).error();
      more = block->more && !block->names.empty();
      if (more) after = block->names.back();
      for (const std::string& name : block->names) {
        if (auto seen = visit(at, prefix + name, name, depth, task); !seen) return seen;
      }
    }
    return Done{};
  }

  [[nodiscard]] std::string form() const override { return "directory"; }

  Result<std::unique_ptr<BytesAt>> bytes_of(std::string_view name) override {
    auto file = regular(name);
    if (!file) return std::move(file).error();
    auto opened = directory_.open_beneath(name);
    if (!opened) return std::move(opened).error();
    return archive::bytes_of_file(*std::move(opened), std::string(name));
  }

 private:
  Status visit(const Root& at, const std::string& path, const std::string& name, std::size_t depth,
               const Task& task) {
    if (files_.size() >= kMaxArchiveMembers)
      return Error{Errc::limit, name_ + ": over " + std::to_string(kMaxArchiveMembers) + " files"};
    auto info = at.stat_beneath(name);
    if (!info) {
      task.gaps.add({Impact::lost, "checkpoint.member", name_ + "/" + path, std::move(info).error()});
      return Done{};
    }
    StoredFile file{FileType::unknown, info->size_bytes, info->mtime, {}, 0};
    if (info->is_regular()) file.type = FileType::regular;
    if (info->is_directory()) file.type = FileType::directory;
    if (info->is_symlink()) {
      file.type = FileType::symlink;
      auto target = at.read_link_beneath(name);
      if (!target) return std::move(target).error();
      file.link = *std::move(target);
    }
    const std::size_t cost = cost_of(path, file.link);
    if (cost > index_room_bytes_) return over_index();
    index_room_bytes_ -= cost;
    const bool enter = file.type == FileType::directory && depth < kMaxDepth;
    files_[path] = std::move(file);
    if (!enter) return Done{};
    auto below = at.descend(name);
    if (!below) {
      task.gaps.add({Impact::lost, "checkpoint.member", name_ + "/" + path, std::move(below).error()});
      return Done{};
    }
    return walk(*below, path + "/", depth + 1, task);
  }

  friend class CheckpointStore;
  Root directory_;
  std::size_t index_room_bytes_ = kMaxIndexBytes;
};

}  // namespace

std::optional<std::string> plain_member_name(std::string_view name) {
  std::string plain;
  for (const std::string_view part : split(name, '/')) {
    if (part == "..") return std::nullopt;
    if (part.empty() || part == ".") continue;
    if (!plain.empty()) plain += '/';
    plain += part;
  }
  if (plain.empty()) return std::nullopt;
  return plain;
}

Result<std::unique_ptr<CheckpointStore>> CheckpointStore::open_tar(std::unique_ptr<BytesAt> file,
                                                                   std::string name, const Task& task) {
  return open_tar(std::move(file), std::move(name), task, TarOptions());
}

Result<std::unique_ptr<CheckpointStore>> CheckpointStore::open_tar(std::unique_ptr<BytesAt> file,
                                                                   std::string name, const Task& task,
                                                                   const TarOptions& options) {
  auto store = std::make_unique<TarStore>(std::move(file), std::move(name), options);
  if (auto indexed = store->read_index(task); !indexed) return std::move(indexed).error();
  return std::unique_ptr<CheckpointStore>(std::move(store));
}

Result<std::unique_ptr<CheckpointStore>> CheckpointStore::open_directory(Root directory, const Task& task) {
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  auto store = std::make_unique<DirectoryStore>(std::move(directory));
  if (auto walked = store->walk(*own, "", 0, task); !walked) {
    if (walked.error().code != Errc::limit || store->files().empty()) return std::move(walked).error();
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    task.gaps.add({Impact::lost, "checkpoint.archive", store->name(), std::move(walked).error()});
  }
  return std::unique_ptr<CheckpointStore>(std::move(store));
}

const StoredFile* CheckpointStore::find(std::string_view name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : &found->second;
}

Result<const StoredFile*> CheckpointStore::regular(std::string_view name) const {
  const StoredFile* file = find(name);
  if (file == nullptr) return no_such(name);
  if (file->type != FileType::regular)
    return Error{Errc::unsupported, std::string(name) + ": not a regular file"};
  return file;
}

Result<std::string> CheckpointStore::read(std::string_view name, std::size_t most) {
  auto file = regular(name);
  if (!file) return std::move(file).error();
  const std::uint64_t size = (*file)->size_bytes;
  if (size > most) return Error{Errc::limit, std::string(name) + ": over " + std::to_string(most) + " bytes"};
  auto bytes = bytes_of(name);
  if (!bytes) return std::move(bytes).error();
  std::string text(static_cast<std::size_t>(size), '\0');
  auto got = (*bytes)->read_at(0, std::as_writable_bytes(std::span(text)));
  if (!got) return std::move(got).error().within(name);
  if (*got < text.size())
    return Error{Errc::truncated, std::string(name) + ": " + std::to_string(*got) + " of " +
                                      std::to_string(size) + " bytes are there"};
  return text;
}

Status CheckpointStore::list_tar(std::string_view name, const Emit<TarMember>& emit, const Task& task) {
  auto bytes = bytes_of(name);
  if (!bytes) return std::move(bytes).error();
  return list_members(**bytes, emit, task);
}

Status CheckpointStore::walk_tar(std::string_view name,
                                 const std::function<Status(const TarMember& member, BytesAt& tar)>& take,
                                 const Task& task) {
  auto tar = open_tar_bytes(name, task);
  if (!tar) return std::move(tar).error();
  return archive::index_tar(
      **tar, [&](TarMember&& member) { return take(member, **tar); }, task);
}

Result<std::unique_ptr<BytesAt>> CheckpointStore::open_tar_bytes(std::string_view name, const Task& task) {
  auto bytes = bytes_of(name);
  if (!bytes) return std::move(bytes).error();
  auto compression = compression_of(**bytes);
  if (!compression) return std::move(compression).error();
  if (*compression == archive::Compression::none) return bytes;
  auto unpacked = archive::decompress(**bytes, *compression, task);
  if (!unpacked) return std::move(unpacked).error();
  return std::unique_ptr<BytesAt>(std::make_unique<UnpackedBytes>(*std::move(bytes), *std::move(unpacked)));
}

}  // namespace ctriage::source
