#pragma once
// The bytes of one regular file: where there are any, and their SHA-256 as they pass by. Private to
// lib/overlay.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/archive/layer_writer.h"
#include "lib/core/limits.h"
#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::overlay {

constexpr std::uint64_t kMaxWalkHoleHashBytes = std::uint64_t{16}
                                                << 30;  // zeros hashed for the holes of all files of one walk
constexpr std::uint64_t kMaxRunOffset = std::uint64_t{1}
                                        << 50;  // data further out is not taken: LayerWriter steps over holes
constexpr std::size_t kMaxRuns = 65'536;        // of one file

struct Runs {
  std::vector<archive::DataRun> runs;
  std::uint64_t size_bytes = 0;
  std::uint64_t hole_bytes = 0;
  std::optional<std::string> cut;  // why data at the end is not in `runs`
};
// SEEK_DATA and SEEK_HOLE, lseek(2), up to the size in `info`. A file system that does not know them has one
// run.
Runs find_runs(int fd, const FileInfo& info, std::string_view name);

struct Content {
  std::optional<std::string> sha256;
  std::optional<std::string> not_hashed;  // why there is none
  std::array<char, 4> magic{};            // the first bytes
  std::uint64_t zeroed_bytes = 0;         // of the runs: could not be read and were given as zeros
  std::optional<Error> failed;            // why: the file ended before its size, or the read failed
};

// ELF, or a script.
bool looks_like_program(const std::array<char, 4>& magic);

class ContentReader {
 public:
  // As Visitor::data has it.
  using OnData = std::function<Status(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                                      const std::shared_ptr<LateSha256>& hash)>;
  explicit ContentReader(Task& task);

  // Gives every byte of the runs to `on_data` (may be empty), in blocks. Only errors of `on_data`, a stop and
  // the deadline are errors here; what the file does wrong is in Content.
  Result<Content> read(int fd, const Runs& runs, std::string_view name, const OnData& on_data);

 private:
  Task& task_;
  std::vector<std::byte> block_;
  std::vector<std::byte> zeros_;
  std::uint64_t hole_bytes_left_ = kMaxWalkHoleHashBytes;
};

}  // namespace ctriage::overlay
