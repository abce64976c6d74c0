#include "lib/source/image/layer_store.h"

#include <algorithm>
#include <array>

namespace ctriage::source {
namespace {

using archive::BytesAt;

constexpr std::uint64_t kMaxKeptOfFile = 4 << 20;
constexpr std::size_t kFirstBytes = 512;  // who looks for a magic number again does not unpack again

class SameBytes final : public BytesAt {  // of another, which outlives it
 public:
  explicit SameBytes(BytesAt& of) : of_(of) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    return of_.read_at(offset, into);
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return of_.size_bytes(); }

 private:
  BytesAt& of_;
};

// Files that are asked for one after the other, in an order that is not the tar's.
bool is_asked_for(std::string_view name) {
  while (name.starts_with("./") || name.starts_with('/')) name.remove_prefix(name.front() == '/' ? 1 : 2);
  constexpr std::array<std::string_view, 7> kBelow{
      "etc/",         "var/lib/dpkg/",         "lib/apk/db/",       "usr/lib/apk/db/",
      "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/lib/os-release"};
  return std::ranges::any_of(kBelow, [&](std::string_view below) { return name.starts_with(below); });
}

}  // namespace

Result<std::unique_ptr<LayerStore>> LayerStore::open(CheckpointStore& archive, const std::string& file,
                                                     std::size_t& room, const Task& task) {
  std::unique_ptr<LayerStore> store(new LayerStore(archive.name() + "!" + file, room));
  auto bytes = archive.bytes_of(file);
  if (!bytes) return std::move(bytes).error();
  std::array<std::byte, 8> first{};
  const auto got = (*bytes)->read_at(0, first);
  if (!got) return got.error();
  const auto compression = archive::find_compression(std::span(first).first(*got));
  if (compression != archive::Compression::none) {
    auto unpacked = archive::decompress(**bytes, compression, task);
    if (!unpacked) return std::move(unpacked).error();
    store->keeping_ = std::make_unique<KeepingBytes>(
        std::make_unique<UnpackedBytes>(*std::move(bytes), *std::move(unpacked)));
  } else if (archive.is_in_order()) {
    store->keeping_ = std::make_unique<KeepingBytes>(*std::move(bytes));
  } else {
    store->plain_ = *std::move(bytes);
  }
  if (store->keeping_)
    if (auto kept = store->keeping_->keep(0, kFirstBytes); !kept) return std::move(kept).error();
  store->files_[std::string(kLayerTar)] = StoredFile{FileType::regular, 0, {}, {}, 0};
  return store;
}

Result<std::unique_ptr<BytesAt>> LayerStore::bytes_of(std::string_view name) {
  auto file = regular(name);
  if (!file) return std::move(file).error();
  return std::unique_ptr<BytesAt>(std::make_unique<SameBytes>(tar()));
}

Status LayerStore::list_tar(std::string_view name, const Emit<archive::TarMember>& emit, const Task& task) {
  auto file = regular(name);
  if (!file) return std::move(file).error();
  return archive::index_tar(
      tar(),
      [&](archive::TarMember&& member) -> Status {
        if (keeping_ && member.type == '0' && !member.sparse && member.size_bytes <= kMaxKeptOfFile &&
            member.size_bytes <= room_ && is_asked_for(member.name)) {
          room_ -= static_cast<std::size_t>(member.size_bytes);
          if (auto kept = keeping_->keep(member.offset, static_cast<std::size_t>(member.size_bytes)); !kept)
            return kept;
        }
        return emit(std::move(member));
      },
      task);
}

}  // namespace ctriage::source
