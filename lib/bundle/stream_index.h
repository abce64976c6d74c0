#pragma once
// The names of a bundle and where their chunks are; shared by both readers.
#include <map>
#include <memory>
#include <optional>
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
  // Its place in names().
  [[nodiscard]] std::optional<std::size_t> number_of(std::string_view stream) const;

 private:
  struct Entry {
    std::size_t number = 0;
    std::vector<StoredChunk> chunks;
  };
  std::vector<std::string> names_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::size_t members_ = 0;
};

class Statuses;

// What both readers answer alike.
class IndexedReader : public Reader, protected ChunkOpener {
 public:
  explicit IndexedReader(Task& task);
  ~IndexedReader() override;
  IndexedReader(const IndexedReader&) = delete;
  IndexedReader& operator=(const IndexedReader&) = delete;
  [[nodiscard]] const std::vector<std::string>& streams() const override { return index_.names(); }
  [[nodiscard]] bool has(std::string_view stream) const override { return index_.find(stream) != nullptr; }
  Result<std::unique_ptr<ByteSource>> open(std::string_view stream, Task& task) override;
  [[nodiscard]] std::optional<StreamStatus> status(std::string_view stream) const override;
  [[nodiscard]] bool sealed() const override { return has(kManifest) && has(kManifestDigest); }
  [[nodiscard]] bool cut() const override { return cut_; }

 protected:
  Task& task_;
  StreamIndex index_;
  bool cut_ = false;

 private:
  void read_statuses() const;

  mutable std::unique_ptr<const Statuses> statuses_;  // by the first call of status(), if there are any
  mutable bool asked_ = false;
};

}  // namespace ctriage::bundle
