#include "cmd/acknowledge.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/core/told_pipe.h"

namespace ctriage {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::size_t kWriteBytes =
    4096;  // PIPE_BUF: where poll(2) says that there is room, so much does not wait
constexpr std::size_t kMaxLineBytes = 128;
constexpr std::int64_t kLookNs = 100'000'000;
constexpr std::int64_t kPatienceNs = 60'000'000'000;
constexpr std::size_t kMaxMessage = 4 << 10;

struct Passed {
  Digest sha256{};
  std::uint64_t size_bytes = 0;
};

// Errc::timeout when the other end takes nothing for a minute.
Status write_out(std::span<const std::byte> bytes) {
  std::int64_t until_ns = sys::boottime_ns() + kPatienceNs;
  while (!bytes.empty()) {
    std::array<pollfd, 1> watched{{{STDOUT_FILENO, POLLOUT, 0}}};
    const auto ready = sys::poll(watched, kLookNs);
    if (!ready && ready.error().number != EINTR) return ready.error();
    if (sys::boottime_ns() >= until_ns)
      return Error{Errc::timeout, "the other end took nothing for a minute"};
    if (!ready || *ready == 0) continue;
    const auto written =
        sys::write(STDOUT_FILENO, bytes.first(std::min(bytes.size(), kWriteBytes)), "standard output");
    if (!written && written.error().number == EINTR) continue;
    if (!written) return written.error();
    bytes = bytes.subspan(*written);
    until_ns = sys::boottime_ns() + kPatienceNs;
  }
  return Done{};
}

Result<Passed> pass_on(ToldPipe& from) {
  Sha256 hash;
  std::vector<std::byte> block(kBlockBytes);
  for (;;) {
    const auto got = from.read(block, []() -> Status { return Done{}; });
    if (!got) return got.error();
    if (*got == 0) return Passed{hash.digest(), hash.size_bytes()};
    const auto bytes = std::span(block).first(*got);
    if (auto written = write_out(bytes); !written) return std::move(written).error();
    hash.update(bytes);
  }
}

Result<std::string> read_line() {
  const std::int64_t until_ns = sys::boottime_ns() + kPatienceNs;
  std::string line;
  while (sys::boottime_ns() < until_ns) {
    std::array<pollfd, 1> watched{{{STDIN_FILENO, POLLIN, 0}}};
    const auto ready = sys::poll(watched, kLookNs);
    if (!ready && ready.error().number != EINTR) return ready.error();
    if (!ready || *ready == 0) continue;
    char c = 0;
    const auto got = sys::read(STDIN_FILENO, std::as_writable_bytes(std::span(&c, 1)), "standard input");
    if (!got && got.error().number != EINTR) return got.error();
    if (!got) continue;
    if (*got == 0) return Error{Errc::truncated, "the other end closed without an answer"};
    if (c == '\n') return line;
    line += c;
    if (line.size() > kMaxLineBytes)
      return Error{Errc::malformed, "what the other end says is no acknowledgement"};
  }
  return Error{Errc::timeout, "no answer for a minute"};
}

int work(UniqueFd pipe, Channel& parent) {
  ToldPipe from(std::move(pipe), parent);
  std::string why;
  if (const auto passed = pass_on(from); !passed) {
    why = passed.error().what;
  } else {
    UniqueFd(STDOUT_FILENO).reset();
    const auto line = read_line();
    if (!line) {
      why = line.error().what;
    } else if (*line != acknowledgement(passed->sha256, passed->size_bytes)) {
      why = "the other end has other bytes, or is no `ctriage receive --ack`";
    }
  }
  return parent.send("=" + why) ? 0 : 1;
}

}  // namespace

std::string acknowledgement(const Digest& sha256, std::uint64_t size_bytes) {
  return "ctriage-ack " + to_hex(sha256) + " " + std::to_string(size_bytes);
}

Result<Acknowledged> Acknowledged::start(sys::Handler on_stop) {
  auto pipe = sys::pipe2(O_CLOEXEC);
  if (!pipe) return std::move(pipe).error();
  auto child = Child::start(
      [&](Channel& parent) {
        pipe->second.reset();
        return work(std::move(pipe->first), parent);
      },
      on_stop);
  if (!child) return std::move(child).error();
  UniqueFd(STDOUT_FILENO).reset();
  return Acknowledged(*std::move(child), std::move(pipe->second));
}

Status Acknowledged::finish() {
  pipe_.reset();
  const std::atomic<bool> never{false};
  if (auto said = child_.channel().send("end"); !said) return said;
  const auto answer = child_.channel().receive(kMaxMessage, never);
  if (!answer) return answer.error();
  if (!*answer || (*answer)->empty()) return Error{Errc::io, "the process that writes it ended"};
  if (**answer != "=") return Error{Errc::mismatch, (*answer)->substr(1)};
  return Done{};
}

}  // namespace ctriage
