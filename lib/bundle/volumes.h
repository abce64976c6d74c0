#pragma once
// A bundle that was cut into files of one size: NAME.ctriage.tar.000, .001, ... Put together in that order
// they are the bundle, byte for byte. FORMAT.md, "Volumes".
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/core/new_file.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"

namespace ctriage::bundle {

constexpr std::size_t kMaxVolumes = 100'000;  // that are read
constexpr std::size_t kMaxNewVolumes = 512;   // that are written: each is open until all are whole
constexpr std::uint64_t kLeastVolume = 4096;

struct VolumeName {
  std::string whole;  // "B.ctriage.tar" of "B.ctriage.tar.001"
  std::uint32_t number = 0;
};
// Nothing when it is not the name of a volume.
std::optional<VolumeName> split_volume(std::string_view file_name);
std::string volume_name(std::string_view whole, std::uint32_t number);
// "B" of B.ctriage.tar, B.ctriage.tar.part, B.ctriage.tar.age, B.ctriage.tar.001; else all of it.
std::string stem_of(std::string_view file_name);

class Volumes final : public archive::BytesAt {
 public:
  // All volumes of `whole` in the directory. Errc::mismatch names one that is missing before others, or is
  // not as long as the first. A last one that is missing cannot be known: what they hold is then cut.
  static Result<std::unique_ptr<Volumes>> open(const Root& directory, const std::string& whole);
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override;
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::uint64_t each_bytes() const { return each_; }  // of all but the last

 private:
  Volumes(Root directory, std::string whole) : directory_(std::move(directory)), whole_(std::move(whole)) {}
  Result<std::size_t> read_volume(std::uint32_t number, std::uint64_t offset, std::span<std::byte> into);
  Root directory_;
  std::string whole_;
  std::size_t count_ = 0;
  std::uint64_t each_ = 0;  // bytes of all but the last
  std::uint64_t size_ = 0;
  UniqueFd file_;  // one at a time
  std::uint32_t opened_ = UINT32_MAX;
};

// Cuts what is written into volumes of `each` bytes, or writes one file when `size` is no more than that.
// They all get their names in seal(); without it nothing stays.
class VolumeSink final : public ByteSink {
 public:
  // Errc::limit for too many volumes.
  static Result<VolumeSink> create(const Root& directory, std::string whole, std::uint64_t size,
                                   std::uint64_t each);
  Status write(std::span<const std::byte> bytes) override;
  Status seal();
  void remove();
  [[nodiscard]] std::size_t count() const { return files_.size(); }

 private:
  VolumeSink(Root directory, std::string whole, bool split, std::uint64_t each)
      : directory_(std::move(directory)), whole_(std::move(whole)), split_(split), each_(each) {}
  Root directory_;
  std::string whole_;
  bool split_;
  std::uint64_t each_;
  std::vector<NewFile> files_;
};

}  // namespace ctriage::bundle
