#pragma once
// The names of a bundle and where their chunks are; shared by both readers.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/chunk_source.h"
#include "lib/bundle/reader.h"
#include "lib/core/limits.h"

namespace ctriage::bundle {

class StreamIndex {
 public:
  enum class Order : std::uint8_t { file, any };  // as a bundle has its chunks, or as a directory lists them
  // Errc::malformed for a name that is not ours or is there twice, limit over kMaxMembers.
  Status add(std::string_view member, std::uint64_t offset, std::uint64_t size, Order order);
  // Chunks by number, however they were found.
  void sort();
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] const std::vector<StoredChunk>* find(std::string_view stream) const;

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::vector<StoredChunk>, std::less<>> chunks_;
  std::size_t members_ = 0;
};

// What both readers answer alike.
class IndexedReader : public Reader, protected ChunkOpener {
 public:
  [[nodiscard]] const std::vector<std::string>& streams() const override { return index_.names(); }
  [[nodiscard]] bool has(std::string_view stream) const override { return index_.find(stream) != nullptr; }
  Result<std::unique_ptr<ByteSource>> open(std::string_view stream, Task& task) override;
  [[nodiscard]] bool sealed() const override { return has(kManifest) && has(kManifestDigest); }
  [[nodiscard]] bool cut() const override { return cut_; }

 protected:
  StreamIndex index_;
  bool cut_ = false;
};

}  // namespace ctriage::bundle
