#pragma once
// A file that grows as NAME.part and gets its name when it is whole, hashed while it is written.
#include <memory>
#include <span>
#include <string>

#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"

namespace ctriage::memory {

class CoreFile final : public ByteSink {
 public:
  // NAME.part in `directory`, for us alone to read. Errc::io with EEXIST where it or NAME is there.
  static Result<std::unique_ptr<CoreFile>> create(const Root& directory, const std::string& name);
  ~CoreFile() override;
  Status write(std::span<const std::byte> bytes) override;
  // Renames it; the SHA-256 of its bytes. Without this NAME.part stays.
  Result<Digest> seal();
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  struct Hasher;
  CoreFile(Root directory, std::string name, UniqueFd file);
  Root directory_;
  std::string name_;
  UniqueFd file_;
  std::uint64_t size_bytes_ = 0;
  std::unique_ptr<Hasher> hasher_;
};

}  // namespace ctriage::memory
