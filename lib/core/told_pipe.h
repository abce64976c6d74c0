#pragma once
// The end of a pipe that is read until its writer, another process of ours, says on a channel that it has
// written all: others may have inherited the end that is written, so the pipe itself may never end.
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "lib/core/child.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

class ToldPipe {
 public:
  // `writer` stays with the caller.
  ToldPipe(UniqueFd pipe, Channel& writer) : pipe_(std::move(pipe)), writer_(writer) {}

  // 0: all that was written has been read. `meanwhile` is called before each look at the pipe, at least ten
  // times a second; an error of it ends this. Errc::io when the writer ended without its word.
  Result<std::size_t> read(std::span<std::byte> into, const std::function<Status()>& meanwhile);
  // What it said; waits for it.
  Result<std::string> last_word();
  void close() { pipe_.reset(); }

 private:
  UniqueFd pipe_;
  Channel& writer_;
  std::optional<std::string> said_;
};

}  // namespace ctriage
