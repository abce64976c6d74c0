#pragma once
// A core on its way to the disk, hashed by a thread of its own while it is written.
#include <memory>
#include <span>
#include <string>

#include "lib/core/hash.h"
#include "lib/core/new_file.h"

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

}  // namespace ctriage::memory
