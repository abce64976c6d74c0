#pragma once
// The entries of a CRIU image too large to be read whole: the bytes that belong to each stay where they are.
// Not for other modules.
#include <memory>
#include <string>

#include "lib/criu/criu.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {

class ImageStream {
 public:
  static Result<ImageStream> open(CheckpointStore& store, const std::string& name, criu::Kind kind);
  // True and the next message, or false at the end.
  Result<bool> next(std::string& message);
  // Passes over bytes behind the message. Errc::truncated.
  Status skip(std::uint64_t size);
  [[nodiscard]] std::uint64_t at() const { return at_; }  // behind the message, or what was passed over
  [[nodiscard]] std::uint64_t left() const { return size_ - at_; }
  [[nodiscard]] archive::BytesAt& bytes() { return *bytes_; }

 private:
  ImageStream(std::unique_ptr<archive::BytesAt> bytes, std::uint64_t size, std::uint64_t at)
      : bytes_(std::move(bytes)), size_(size), at_(at) {}
  std::unique_ptr<archive::BytesAt> bytes_;
  std::uint64_t size_;
  std::uint64_t at_;
  std::uint64_t entries_ = 0;
};

}  // namespace ctriage::source
