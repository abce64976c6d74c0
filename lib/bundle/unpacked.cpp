#include "lib/bundle/unpacked.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "lib/archive/tar_header.h"
#include "lib/bundle/manifest_json.h"
#include "lib/bundle/names.h"
#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kSumBytes = 66;  // before the name in a line of SHA256SUMS
constexpr std::size_t kMaxLine = kSumBytes + kMaxMemberName;

class StartedAt final : public ManifestSink {
 public:
  void head(Timestamp started_at) override { at = started_at; }
  void stream(const ManifestStream&) override {}
  void chunk(const ManifestChunk&) override {}
  void stream_end() override {}
  Timestamp at;
};

class Source final : public UnpackedSource {
 public:
  Source(Root directory, const Task& task) : directory_(std::move(directory)), task_(task) {}

  // One pass over the names for the size, then from the beginning.
  Status prepare() {
    if (auto started = read_time(); !started) return started;
    closing_ = {std::string(kSums), std::string(kManifest)};
    constexpr std::string_view kSignature = "manifest.json.sig";
    if (directory_.stat_beneath(kSignature)) closing_.emplace_back(kSignature);
    closing_.emplace_back(kManifestDigest);
    if (auto begun = begin(); !begun) return begun;
    std::uint64_t members = 0;
    while (true) {
      if (auto may = task_.check(); !may) return may;
      auto name = next_name();
      if (!name) return std::move(name).error();
      if (!*name) break;
      if (++members > kMaxMembers) return Error{Errc::limit, "more than 4,000,000 members"};
      auto info = directory_.stat_beneath(**name);
      if (!info) return std::move(info).error();
      size_ += archive::kTarBlock + info->size_bytes + archive::tar_padding(info->size_bytes);
    }
    size_ += 2 * archive::kTarBlock;
    return begin();
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    while (!into.empty()) {
      if (at_ < pending_) {
        const std::size_t size = std::min(into.size(), pending_ - at_);
        std::memcpy(into.data(), block_.data() + at_, size);
        at_ += size;
        return size;
      }
      if (file_ && left_ > 0) {
        const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
        auto got = file_->read(into.first(most));
        if (!got) return got;
        if (*got == 0) return Error{Errc::changed, name_ + " became shorter"};
        left_ -= *got;
        if (left_ == 0) pad();
        return got;
      }
      auto more = next_member();
      if (!more) return std::move(more).error();
      if (!*more) return std::size_t{0};
    }
    return std::size_t{0};
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_; }

 private:
  Status read_time() {
    auto file = directory_.open_beneath(kManifest);
    if (!file) return std::move(file).error().within(directory_.name());
    FdSource manifest(*std::move(file), std::string(kManifest), task_);
    StartedAt started;
    if (auto parsed = parse_manifest(manifest, started); !parsed)
      return std::move(parsed).error().within(kManifest);
    mtime_seconds_ = started.at.seconds;
    return Done{};
  }

  Status begin() {
    auto file = directory_.open_beneath(kSums);
    if (!file) return std::move(file).error().within(directory_.name());
    lines_.reset();
    sums_ = std::make_unique<FdSource>(*std::move(file), std::string(kSums), task_);
    lines_.emplace(*sums_, kMaxLine);
    next_closing_ = 0;
    return Done{};
  }

  Result<std::optional<std::string>> next_name() {
    if (next_closing_ == 0) {
      std::string_view line;
      auto more = lines_->next(line);
      if (!more) return std::move(more).error().within(kSums);
      if (*more) {
        if (line.size() <= kSumBytes || !is_member_name(line.substr(kSumBytes)))
          return Error{Errc::malformed, std::string(kSums) + ": a line that is none of a bundle"};
        return std::optional(std::string(line.substr(kSumBytes)));
      }
    }
    if (next_closing_ == closing_.size()) return std::optional<std::string>();
    return std::optional(closing_[next_closing_++]);
  }

  // The header of the next one; or the end, once.
  Result<bool> next_member() {
    if (ended_) return false;
    auto name = next_name();
    if (!name) return std::move(name).error();
    at_ = 0;
    if (!*name) {
      ended_ = true;
      block_ = {};
      pending_ = block_.size();
      return true;
    }
    name_ = **name;
    auto file = directory_.open_beneath(name_);
    if (!file) return std::move(file).error();
    auto info = file_info(file->get(), name_);
    if (!info) return std::move(info).error();
    auto header = archive::make_tar_header(name_, info->size_bytes, mtime_seconds_);
    if (!header) return std::move(header).error();
    std::copy(header->begin(), header->end(), block_.begin());
    pending_ = header->size();
    left_ = info->size_bytes;
    padding_ = static_cast<std::size_t>(archive::tar_padding(left_));
    file_ = std::make_unique<FdSource>(*std::move(file), name_, task_);
    return true;
  }

  void pad() {
    std::fill(block_.begin(), block_.end(), std::byte{0});
    at_ = 0;
    pending_ = padding_;
  }

  Root directory_;
  const Task& task_;
  std::int64_t mtime_seconds_ = 0;
  std::uint64_t size_ = 0;
  std::vector<std::string> closing_;
  std::size_t next_closing_ = 0;
  std::unique_ptr<FdSource> sums_;
  std::optional<LineReader> lines_;
  std::string name_;
  std::unique_ptr<FdSource> file_;
  std::uint64_t left_ = 0;
  std::size_t padding_ = 0;
  std::array<std::byte, 2 * archive::kTarBlock> block_{};  // a header, a padding or the end
  std::size_t at_ = 0;
  std::size_t pending_ = 0;
  bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<UnpackedSource>> UnpackedSource::open(Root directory, const Task& task) {
  auto source = std::make_unique<Source>(std::move(directory), task);
  if (auto prepared = source->prepare(); !prepared) return std::move(prepared).error();
  return std::unique_ptr<UnpackedSource>(std::move(source));
}

}  // namespace ctriage::bundle
