#pragma once
// A file of ours that nobody may take for whole before it is: it grows as NAME.part and then gets its name.
#include <cstdint>
#include <span>
#include <string>

#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

// renameat2(2) that replaces nothing: Errc::io with EEXIST where `to` is there. NFS and FUSE do not know that
// flag: there it is looked first.
Status rename_new(const Root& directory, const std::string& from, const std::string& to);

class NewFile final : public ByteSink {
 public:
  // NAME.part in `directory`, for us alone to read. Errc::io with EEXIST where it or NAME is there.
  static Result<NewFile> create(const Root& directory, const std::string& name, std::uint64_t max_bytes);
  // Errc::full over `max_bytes`, or where the disk has no room.
  Status write(std::span<const std::byte> bytes) override;
  // On the disk with its name when this is done. Without it NAME.part stays.
  Status seal();
  // What is not sealed goes.
  void remove();
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  NewFile(Root directory, std::string name, UniqueFd file, std::uint64_t max_bytes)
      : directory_(std::move(directory)),
        name_(std::move(name)),
        file_(std::move(file)),
        max_bytes_(max_bytes) {}
  Root directory_;
  std::string name_;
  UniqueFd file_;
  std::uint64_t max_bytes_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace ctriage
