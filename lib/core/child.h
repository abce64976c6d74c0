#pragma once
// A process of our own for one part of the work: what it gives up for good (clones of mounts, files, system
// calls) the next part has still. It ends with us, however we end, and answers no signal but ours: ^C and a
// supervisor's TERM reach the parent, which passes one on.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lib/core/result.h"
#include "lib/core/sys.h"
#include "lib/core/unique_fd.h"

namespace ctriage {

// Messages between the two: a length of 4 bytes, little-endian, and as many bytes. Nothing a child says is
// trusted further than `most`: it has parsed what an attacker wrote.
class Channel {
 public:
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}

  Status send(std::string_view message);
  // Waits until then (CLOCK_BOOTTIME): Errc::timeout. Nothing when the other end is gone; Errc::stopped when
  // `stop` was set meanwhile.
  Result<std::optional<std::string>> receive(std::size_t most, const std::atomic<bool>& stop,
                                             std::int64_t until_ns = INT64_MAX);
  // A message has begun to arrive, or the other end is gone: receive() will not wait for the first byte.
  [[nodiscard]] bool ready() const;
  void close() { socket_.reset(); }

 private:
  Result<bool> fill(std::span<std::byte> into, const std::atomic<bool>& stop, std::int64_t until_ns);
  UniqueFd socket_;
};

class Child {
 public:
  // What it does, and the status that it ends with.
  using Work = std::function<int(Channel& parent)>;
  // Forks: before any thread. `on_stop`: what stop() makes happen in the child. `siblings`: whose channels it
  // must not keep open.
  static Result<Child> start(const Work& work, sys::Handler on_stop, std::span<Child* const> siblings = {});
  Child(Child&&) noexcept = default;
  Child& operator=(Child&&) = delete;
  // One that was not waited for is killed.
  ~Child();

  [[nodiscard]] Channel& channel() { return channel_; }
  void stop();
  // Kills it and does not wait: where it is stuck no signal may reach it.
  void abandon();
  // Its status; an error when a signal ended it.
  Result<int> wait();

 private:
  struct Pid {  // moves away with its owner
    int number = 0;
    explicit Pid(int pid) : number(pid) {}
    Pid(Pid&& other) noexcept : number(std::exchange(other.number, 0)) {}
    Pid& operator=(Pid&&) = delete;
    Pid(const Pid&) = delete;
    ~Pid() = default;
  };
  Child(int pid, UniqueFd socket) : pid_(pid), channel_(std::move(socket)) {}

  Pid pid_;
  Channel channel_;
};

}  // namespace ctriage
