#pragma once
// Bytes in and bytes out, one pass. Every source and sink over a descriptor looks at the task's stop and
// deadline.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

struct ByteSource {  // one pass, in order
  virtual ~ByteSource() = default;
  virtual Result<std::size_t> read(std::span<std::byte> into) = 0;  // 0 is the end
};

struct ByteSink {
  virtual ~ByteSink() = default;
  virtual Status write(std::span<const std::byte> bytes) = 0;  // all of it or an error
  // The same, with the bytes fed or promised to `hash`: hardly dearer where the sink hashes them itself.
  virtual Status write_hashed(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash);
};

class FdSource final : public ByteSource {
 public:
  FdSource(UniqueFd fd, std::string name, const Task& task)
      : fd_(std::move(fd)), name_(std::move(name)), task_(task) {}
  Result<std::size_t> read(std::span<std::byte> into) override;

 private:
  UniqueFd fd_;
  std::string name_;  // for error messages
  const Task& task_;
};

class MemorySource final : public ByteSource {  // over bytes the caller keeps alive
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : rest_(bytes) {}
  explicit MemorySource(std::string_view text) : rest_(std::as_bytes(std::span(text.data(), text.size()))) {}
  Result<std::size_t> read(std::span<std::byte> into) override;

 private:
  std::span<const std::byte> rest_;
};

// Splits a source into lines without its line ends, in bounded memory. A line over `longest` bytes is
// Errc::limit once, is skipped, and the next line can be read.
class LineReader {
 public:
  LineReader(ByteSource& in, std::size_t longest, char delimiter = '\n')
      : in_(in), longest_(longest), delimiter_(delimiter) {}
  // True and the line (valid until the next call; a last line without delimiter counts), or false at the end.
  Result<bool> next(std::string_view& line);
  // The offset in the source of the line last given.
  [[nodiscard]] std::uint64_t offset() const { return line_offset_; }

 private:
  ByteSource& in_;
  std::size_t longest_;
  char delimiter_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::uint64_t buffer_offset_ = 0;
  std::uint64_t line_offset_ = 0;
  bool at_end_ = false;
};

// The whole of a source, or Errc::limit when it has more than `most` bytes.
Result<std::string> read_all(ByteSource& in, std::size_t most);

// Of the whole of a source, or what is left of it.
Result<Digest> hash_all(ByteSource& in);

}  // namespace ctriage
