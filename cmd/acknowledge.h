#pragma once
// `collect -o - --ack`: what goes to standard output is counted and hashed on its way by a process of ours,
// which then reads on standard input what `receive --ack` at the other end has on its disk.
// lib/bundle/FORMAT.md, "Acknowledgement".
#include <cstdint>
#include <string>

#include "lib/core/child.h"
#include "lib/core/hash.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

// What is said, without its line end: all bytes are on the disk under their name.
std::string acknowledgement(const Digest& sha256, std::uint64_t size_bytes);

class Acknowledged {
 public:
  // Forks: before any thread. Standard output is that process's alone from here on, so that its end is seen.
  static Result<Acknowledged> start(sys::Handler on_stop);
  // The end that the bundle is written to; once.
  UniqueFd take_pipe() { return std::move(pipe_); }
  // After the last byte was written. Done: the other end has the same bytes. Errc::timeout after a minute.
  Status finish();

 private:
  Acknowledged(Child child, UniqueFd pipe) : child_(std::move(child)), pipe_(std::move(pipe)) {}
  Child child_;
  UniqueFd pipe_;
};

}  // namespace ctriage
