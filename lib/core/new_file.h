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
  // The same at an offset, for what does not come in order; what is between is zeros. Not with write() after.
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  // As long as that, the rest zeros that take no room. `max_bytes` holds for what is written.
  Status extend(std::uint64_t size_bytes);
  // What was written, less only at its end.
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const;
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
  Status make_room(std::size_t bytes);
  Root directory_;
  std::string name_;
  UniqueFd file_;
  std::uint64_t max_bytes_;
  std::uint64_t written_bytes_ = 0;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace ctriage
