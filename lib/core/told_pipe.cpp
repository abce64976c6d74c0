#include "lib/core/told_pipe.h"

#include <poll.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "lib/core/sys.h"

namespace ctriage {
namespace {

constexpr std::int64_t kLookNs = 100'000'000;
constexpr std::size_t kMaxWord = 4 << 10;
constexpr std::string_view kName = "a pipe between processes of ours";

}  // namespace

Result<std::size_t> ToldPipe::read(std::span<std::byte> into, const std::function<Status()>& meanwhile) {
  for (;;) {
    if (auto go_on = meanwhile(); !go_on) return std::move(go_on).error();
    if (!said_ && writer_.ready()) {
      if (auto said = last_word(); !said) return std::move(said).error();
    }
    std::array<pollfd, 1> watched{{{pipe_.get(), POLLIN, 0}}};
    const auto ready = sys::poll(watched, said_ ? 0 : kLookNs);
    if (!ready && ready.error().number != EINTR) return ready.error();
    if (ready && *ready == 0 && said_) return std::size_t{0};  // all had been written when that was said
    if (!ready || *ready == 0) continue;
    auto got = sys::read(pipe_.get(), into, kName);
    if (got || got.error().number != EINTR) return got;
  }
}

Result<std::string> ToldPipe::last_word() {
  if (said_) return *said_;
  const std::atomic<bool> never{false};
  auto message = writer_.receive(kMaxWord, never);
  if (!message) return std::move(message).error();
  if (!*message) return Error{Errc::io, "the process that writes ended before it had said so"};
  said_ = *std::move(*message);
  return *said_;
}

}  // namespace ctriage
