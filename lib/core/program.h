#pragma once
// A program of the node's that we start: found under a fixed absolute path, hashed, and the file that was
// hashed is what runs; with an environment of our making, nothing of ours open but what it is handed, and no
// shell. It is killed when we end. What /etc/ld.so.preload names runs in it too: no kernel forbids that.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/result.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

class Program {
 public:
  // The first of those absolute paths that there is. Errc::not_found names them all.
  static Result<Program> find(std::span<const std::string_view> paths, const Task& task);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Digest& sha256() const { return sha256_; }

  struct Call {
    std::vector<std::string> arguments = {};    // after the program's own name
    std::vector<std::string> environment = {};  // NAME=VALUE: all that it gets
    int input = -1;                             // its standard input, -1: what `feed` gives
    ByteSource* feed = nullptr;                 // nullptr: nothing
    int handed = -1;                            // open there too, under the same number
    // What it prints, as it comes; nullptr: is not kept.
    std::function<Status(std::span<const std::byte>)> output = {};
    std::int64_t stall_ns = INT64_MAX;  // neither takes nor says anything for so long: Errc::timeout
  };
  struct End {
    int status = 0;          // of exit(3); 128 and its number where a signal ended it
    std::string error = {};  // the end of what it printed as errors, kMaxErrorBytes at most
  };
  static constexpr std::size_t kMaxErrorBytes = 4096;

  // Until it ends; an error of ours, of `feed` or `output`, or of the task ends it. Forks: before
  // any thread. SIGPIPE is ignored, as main() has it.
  Result<End> run(const Call& call, const Task& task) const;

 private:
  Program(std::string path, UniqueFd file, Digest sha256)
      : path_(std::move(path)), file_(std::move(file)), sha256_(sha256) {}
  std::string path_;
  UniqueFd file_;
  Digest sha256_;
};

}  // namespace ctriage
