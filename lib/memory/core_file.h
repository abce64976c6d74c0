#pragma once
// A core on its way to the disk, hashed by a thread of its own while it is written.
#include <memory>
#include <span>
#include <string>

#include "lib/core/hash.h"
#include "lib/core/new_file.h"
#include "lib/core/task.h"

namespace ctriage::memory {

class CoreFile final : public ByteSink {
 public:
  // As NewFile::create.
  static Result<std::unique_ptr<CoreFile>> create(const Root& directory, const std::string& name,
                                                  std::uint64_t max_bytes);
  ~CoreFile() override;
  Status write(std::span<const std::byte> bytes) override;
  // NewFile::seal, and the SHA-256 of all its bytes.
  Result<Digest> seal();
  NewFile& file() { return file_; }

 private:
  struct Hasher;
  explicit CoreFile(NewFile file);
  NewFile file_;
  std::unique_ptr<Hasher> hasher_;
};

// A core whose head comes first and whose data comes in any order, as a compressed archive has it: hashed
// when all of it is there.
class PlacedCore final : public ByteSink {
 public:
  // As NewFile::create.
  static Result<PlacedCore> create(const Root& directory, const std::string& name, std::uint64_t max_bytes);
  // The head.
  Status write(std::span<const std::byte> bytes) override { return file_.write(bytes); }
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    return file_.write_at(offset, bytes);
  }
  // What was not written up to `size_bytes` is zeros; then as of CoreFile.
  Result<Digest> seal(std::uint64_t size_bytes, const Task& task);
  NewFile& file() { return file_; }

 private:
  explicit PlacedCore(NewFile file) : file_(std::move(file)) {}
  NewFile file_;
};

}  // namespace ctriage::memory
