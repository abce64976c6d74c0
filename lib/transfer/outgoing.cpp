#include "lib/transfer/outgoing.h"

#include <algorithm>

#include "lib/archive/bytes_at.h"
#include "lib/bundle/stored.h"
#include "lib/bundle/volumes.h"
#include "lib/core/text.h"

namespace ctriage::transfer {
namespace {

constexpr std::string_view kSuffix = ".ctriage.tar";
constexpr std::string_view kEncrypted = ".age";
constexpr std::size_t kTailBytes = 4096;

using Measured = std::shared_ptr<std::optional<Digest>>;

// Bytes hashed on their way; `size` of them are all.
class Measuring final : public ByteSource {
 public:
  Measuring(std::unique_ptr<ByteSource> from, std::uint64_t size, Measured measured)
      : from_(std::move(from)), size_(size), measured_(std::move(measured)) {
    tell();
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    auto got = from_->read(into);
    if (!got) return got;
    hash_.update(into.first(*got));
    tell();
    return got;
  }

 private:
  void tell() {
    if (hash_.size_bytes() == size_) *measured_ = hash_.digest();
  }
  std::unique_ptr<ByteSource> from_;
  std::uint64_t size_;
  Measured measured_;
  Sha256 hash_;
};

Item item_of(std::string name, std::shared_ptr<archive::BytesAt> all, std::uint64_t offset,
             std::uint64_t size, const Task& task) {
  Item item;
  item.name = std::move(name);
  item.size_bytes = size;
  item.measured = std::make_shared<std::optional<Digest>>();
  item.open_part = [all, offset, &task](std::uint64_t at, std::uint64_t part) {
    return Result<std::unique_ptr<ByteSource>>(
        archive::in_order(archive::part_of(*all, offset + at, part), 0, part, task));
  };
  item.open = [all = std::move(all), offset, size, measured = item.measured,
               &task]() -> Result<std::unique_ptr<ByteSource>> {
    measured->reset();
    auto bytes = archive::in_order(archive::part_of(*all, offset, size), 0, size, task);
    return std::unique_ptr<ByteSource>(std::make_unique<Measuring>(std::move(bytes), size, measured));
  };
  return item;
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

// What of a name reaches a server, or a program of the node's: nothing that either reads more into.
bool is_plain_name(std::string_view name) {
  return !name.starts_with('-') &&
         name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%~-") ==
             std::string_view::npos;
}

bool is_bundle_name(std::string_view name) {
  if (name.ends_with(kEncrypted)) name.remove_suffix(kEncrypted.size());
  return name.ends_with(kSuffix) && name.size() > kSuffix.size();
}

// All of it by offset, and how large its volumes are: those that there are, or those that it is cut into.
struct Cut {
  std::shared_ptr<archive::BytesAt> all;
  std::uint64_t each = 0;
};

Result<Cut> cut_of(const bundle::Stored& stored, std::uint64_t split_bytes) {
  if (stored.form() == bundle::Stored::Form::volumes) {
    auto volumes = bundle::Volumes::open(stored.beside(), stored.whole());
    if (!volumes) return std::move(volumes).error();
    const std::uint64_t each = (*volumes)->each_bytes();
    return Cut{*std::move(volumes), each};
  }
  auto all = stored.at();
  if (!all) return std::move(all).error();
  return Cut{*std::move(all), std::max<std::uint64_t>(split_bytes, 1)};
}

}  // namespace

Result<Outgoing> open_outgoing(const std::string& path, std::uint64_t split_bytes, const Task& task) {
  auto stored = bundle::Stored::open(path);
  if (!stored) return std::move(stored).error();
  const bool volumes = stored->form() == bundle::Stored::Form::volumes;
  if (stored->form() == bundle::Stored::Form::unpacked || !is_bundle_name(stored->whole()))
    return Error{Errc::malformed, path +
                                      ": is not called NAME.ctriage.tar, NAME.ctriage.tar.age or ....000: " +
                                      (path.ends_with(".part") ? "it is not sealed" : "not a bundle")};
  if (!is_plain_name(stored->whole()))
    return Error{Errc::malformed,
                 path +
                     ": its name has other characters than letters, digits and ._%~-, and goes to "
                     "no server: rename it"};
  auto beside = stored->beside().duplicate();
  if (!beside) return std::move(beside).error();
  auto cut = cut_of(*stored, split_bytes);
  if (!cut) return std::move(cut).error();
  auto again = beside->duplicate();
  if (!again) return std::move(again).error();
  if (cut->all->size_bytes().value_or(0) / cut->each >= bundle::kMaxVolumes)
    return Error{Errc::limit, path + ": would be more than 100,000 volumes"};
  Outgoing out{stored->whole(), *std::move(beside), 0, false, false, {}, {}, {}, {}};
  out.size_bytes = cut->all->size_bytes().value_or(0);
  out.encrypted = out.name.ends_with(kEncrypted);
  std::string tail(std::min<std::uint64_t>(kTailBytes, out.size_bytes), '\0');
  auto read = cut->all->read_at(out.size_bytes - tail.size(), std::as_writable_bytes(std::span(tail)));
  if (!read) return std::move(read).error();
  Sha256 id;
  id.update(std::to_string(out.size_bytes) + "\n");
  id.update(tail);
  out.id = to_hex(id.digest());
  out.may_be_cut = volumes && out.encrypted && out.size_bytes % cut->each == 0;
  if (!out.encrypted) {
    out.manifest = manifest_of(tail);
    if (!out.manifest)
      return Error{Errc::malformed,
                   path + ": does not end as a sealed bundle does: ctriage verify says more"};
  }
  const auto open_file = [shared = std::make_shared<Root>(*std::move(again))](const std::string& name) {
    return [shared, name] { return shared->open_beneath(name); };
  };
  if (!volumes) {
    out.whole = item_of(out.name, cut->all, 0, out.size_bytes, task);
    out.whole->file = open_file(out.name);
    if (out.size_bytes <= cut->each) {
      out.volumes.push_back(*out.whole);
      return out;
    }
  }
  for (std::uint64_t offset = 0; offset == 0 || offset < out.size_bytes; offset += cut->each) {
    const auto number = static_cast<std::uint32_t>(offset / cut->each);
    out.volumes.push_back(item_of(bundle::volume_name(out.name, number), cut->all, offset,
                                  std::min(cut->each, out.size_bytes - offset), task));
    if (volumes) out.volumes.back().file = open_file(out.volumes.back().name);
  }
  return out;
}

}  // namespace ctriage::transfer
