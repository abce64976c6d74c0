#pragma once
// What a checkpoint's store reads from: a decompressor or a pipe of which runs stay in memory, and a
// decompressor together with what it reads.
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "lib/archive/bytes_at.h"
#include "lib/core/limits.h"

namespace ctriage::source {

// Bytes that are read in order, of which runs stay in memory.
class KeepingBytes final : public archive::BytesAt {
 public:
  explicit KeepingBytes(std::unique_ptr<archive::BytesAt> in) : in_(std::move(in)) {}
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return in_->size_bytes(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    auto run = runs_.upper_bound(offset);
    if (run != runs_.begin()) {
      --run;
      const std::uint64_t from = offset - run->first;
      if (from <= run->second.size() && into.size() <= run->second.size() - from) {
        if (!into.empty()) std::memcpy(into.data(), run->second.data() + from, into.size());
        return into.size();
      }
    }
    return in_->read_at(offset, into);
  }
  Status keep(std::uint64_t offset, std::size_t size) {
    if (size > room_bytes_) return Done{};  // it is read again when it is asked for
    std::string run(size, '\0');
    auto got = in_->read_at(offset, std::as_writable_bytes(std::span(run)));
    if (!got) return std::move(got).error();
    run.resize(*got);
    room_bytes_ -= run.size();
    runs_[offset] = std::move(run);
    return Done{};
  }

 private:
  std::unique_ptr<archive::BytesAt> in_;
  std::map<std::uint64_t, std::string> runs_;
  std::size_t room_bytes_ = kMaxKeptBytes;
};

// What a decompressor makes of a file here, and the file.
class UnpackedBytes final : public archive::BytesAt {
 public:
  UnpackedBytes(std::unique_ptr<archive::BytesAt> packed, std::unique_ptr<archive::BytesAt> unpacked)
      : packed_(std::move(packed)), unpacked_(std::move(unpacked)) {}
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return unpacked_->size_bytes(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    return unpacked_->read_at(offset, into);
  }

 private:
  std::unique_ptr<archive::BytesAt> packed_;  // outlives the other
  std::unique_ptr<archive::BytesAt> unpacked_;
};

}  // namespace ctriage::source
