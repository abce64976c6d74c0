#include "lib/transfer/outgoing.h"

#include <algorithm>

#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/transfer/parts.h"

namespace ctriage::transfer {
namespace {

constexpr std::string_view kSuffix = ".ctriage.tar";
constexpr std::string_view kEncrypted = ".age";
constexpr std::size_t kTailBytes = 4096;
constexpr std::size_t kMaxVolumes = 100'000;

using Measured = std::shared_ptr<std::optional<Digest>>;

// A part of a file, hashed on its way.
class Range final : public ByteSource {
 public:
  Range(std::shared_ptr<const UniqueFd> file, std::string name, std::uint64_t offset, std::uint64_t size,
        Measured measured, const Task& task)
      : file_(std::move(file)),
        name_(std::move(name)),
        offset_(offset),
        left_(size),
        measured_(std::move(measured)),
        task_(task) {
    if (left_ == 0) *measured_ = hash_.digest();
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    if (auto going = task_.check(); !going) return std::move(going).error();
    const auto got =
        sys::pread(file_->get(), into.first(std::min<std::uint64_t>(into.size(), left_)), offset_, name_);
    if (!got || *got == 0) return got;
    hash_.update(into.first(*got));
    offset_ += *got;
    left_ -= *got;
    if (left_ == 0) *measured_ = hash_.digest();
    return got;
  }

 private:
  std::shared_ptr<const UniqueFd> file_;
  std::string name_;
  std::uint64_t offset_;
  std::uint64_t left_;
  Measured measured_;
  const Task& task_;
  Sha256 hash_;
};

Item range_item(std::string name, std::shared_ptr<const UniqueFd> file, std::uint64_t offset,
                std::uint64_t size, const Task& task) {
  Item item;
  item.name = std::move(name);
  item.size_bytes = size;
  item.measured = std::make_shared<std::optional<Digest>>();
  item.open = [file = std::move(file), offset, size, name = item.name, measured = item.measured,
               &task]() -> Result<std::unique_ptr<ByteSource>> {
    measured->reset();
    return std::unique_ptr<ByteSource>(std::make_unique<Range>(file, name, offset, size, measured, task));
  };
  return item;
}

struct Opened {
  std::shared_ptr<const UniqueFd> file;
  std::uint64_t size_bytes = 0;
};

Result<Opened> open_file(const Root& directory, const std::string& name) {
  auto file = directory.open_in_root(name);
  if (!file) return std::move(file).error();
  auto info = file_info(file->get(), name);
  if (!info) return std::move(info).error();
  return Opened{std::make_shared<const UniqueFd>(*std::move(file)), info->size_bytes};
}

// The bundle's last member is manifest.json.sha256, in one block before the two blocks of zeros that end the
// tar.
std::optional<Digest> manifest_of(std::string_view tail) {
  constexpr std::size_t kBlock = 512;
  constexpr std::string_view kRest = "  manifest.json\n";
  constexpr std::size_t kHexDigits = 64;
  if (tail.size() < 3 * kBlock) return std::nullopt;
  const std::string_view block = tail.substr(tail.size() - 3 * kBlock, kBlock);
  Digest digest{};
  if (block.substr(kHexDigits, kRest.size()) != kRest || !parse_digest(block.substr(0, kHexDigits), digest))
    return std::nullopt;
  return digest;
}

// All are as large as the first, the last at most; and none is there beyond one that is missing.
Status check_volumes(const Root& directory, const std::string& name, const std::vector<Opened>& files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    const bool last = i + 1 == files.size();
    if (files[i].size_bytes == files.front().size_bytes ||
        (last && files[i].size_bytes < files.front().size_bytes))
      continue;
    return Error{Errc::mismatch, volume_name(name, i, false) + ": not as large as the volumes before it"};
  }
  std::string after;
  for (bool more = true; more;) {
    auto block = list_names(directory, after);
    if (!block) return std::move(block).error();
    for (const std::string& other : block->names) {
      const auto index = other.starts_with(name + ".")
                             ? parse_number<std::size_t>(other.substr(name.size() + 1))
                             : std::nullopt;
      if (index && *index >= files.size())
        return Error{Errc::mismatch,
                     volume_name(name, files.size(), false) + ": is missing, and " + other + " is there"};
    }
    more = block->more && !block->names.empty();
    if (more) after = block->names.back();
  }
  return Done{};
}

bool is_first_volume(std::string_view name) { return name.ends_with(".000"); }

}  // namespace

Result<Outgoing> open_outgoing(const std::string& path, std::uint64_t split_bytes, const Task& task) {
  const std::size_t slash = path.rfind('/');
  Outgoing out;
  out.directory = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  out.name = path.substr(slash + 1);
  const bool volumes = is_first_volume(out.name);
  if (volumes) out.name.resize(out.name.size() - 4);
  out.encrypted = out.name.ends_with(kEncrypted);
  const std::string_view plain =
      std::string_view(out.name).substr(0, out.name.size() - (out.encrypted ? kEncrypted.size() : 0));
  if (!plain.ends_with(kSuffix) || plain.size() == kSuffix.size())
    return Error{Errc::malformed, path +
                                      ": is not called NAME.ctriage.tar, NAME.ctriage.tar.age or ....000: " +
                                      (path.ends_with(".part") ? "it is not sealed" : "not a bundle")};
  auto directory = Root::open(out.directory.empty() ? "." : out.directory);
  if (!directory) return std::move(directory).error();
  std::vector<Opened> files;
  for (std::size_t index = 0; index < (volumes ? kMaxVolumes : 1); ++index) {
    auto file = open_file(*directory, volumes ? volume_name(out.name, index, false) : out.name);
    if (!file && index > 0 && file.error().code == Errc::not_found) break;
    if (!file) return std::move(file).error();
    out.size_bytes += file->size_bytes;
    files.push_back(*std::move(file));
  }
  if (volumes) {
    if (auto whole = check_volumes(*directory, out.name, files); !whole) return std::move(whole).error();
  }
  std::string tail(std::min<std::uint64_t>(kTailBytes, files.back().size_bytes), '\0');
  auto read = sys::pread_full(files.back().file->get(), std::as_writable_bytes(std::span(tail)),
                              files.back().size_bytes - tail.size(), path);
  if (!read) return std::move(read).error();
  Sha256 id;
  id.update(std::to_string(out.size_bytes) + "\n");
  id.update(tail);
  out.id = to_hex(id.digest());
  if (!out.encrypted) {
    out.manifest = manifest_of(tail);
    if (!out.manifest)
      return Error{Errc::malformed,
                   path + ": does not end as a sealed bundle does: ctriage verify says more"};
  }
  if (volumes) {
    for (std::size_t index = 0; index < files.size(); ++index)
      out.volumes.push_back(range_item(volume_name(out.name, index, false), files[index].file, 0,
                                       files[index].size_bytes, task));
    return out;
  }
  const std::uint64_t step = std::max<std::uint64_t>(split_bytes, 1);
  const bool single = out.size_bytes <= step;
  for (std::uint64_t offset = 0; offset == 0 || offset < out.size_bytes; offset += step)
    out.volumes.push_back(range_item(volume_name(out.name, offset / step, single), files.front().file, offset,
                                     std::min(step, out.size_bytes - offset), task));
  return out;
}

}  // namespace ctriage::transfer
