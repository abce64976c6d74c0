#include "lib/core/child.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "lib/core/cursor.h"

namespace ctriage {
namespace {

constexpr std::int64_t kLookAgainNs = 100'000'000;
constexpr int kStopSignal = SIGUSR1;
constexpr std::string_view kName = "another process of ours";

[[noreturn]] void become(const Child::Work& work, Channel& parent, int parent_pid) noexcept {
  if (auto set = sys::end_with_parent(SIGKILL); !set || sys::parent_pid() != parent_pid) sys::exit_now(1);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (auto ignored = sys::on_signal(signal, SIG_IGN); !ignored) sys::exit_now(1);
  }
  sys::exit_now(work(parent));
}

}  // namespace

Status Channel::send(std::string_view message) {
  std::string whole;
  for (unsigned shift = 0; shift < 32; shift += 8) whole += static_cast<char>(message.size() >> shift & 0xff);
  whole += message;
  return sys::write_all(socket_.get(), whole, kName);
}

// False when the other end is gone.
Result<bool> Channel::fill(std::span<std::byte> into, const std::atomic<bool>& stop, std::int64_t until_ns) {
  while (!into.empty()) {
    if (stop) return Error{Errc::stopped, "stopped"};
    if (sys::boottime_ns() >= until_ns) return Error{Errc::timeout, std::string(kName) + " does not answer"};
    std::array<pollfd, 1> watched{{{socket_.get(), POLLIN, 0}}};
    const auto ready = sys::poll(watched, kLookAgainNs);
    if (!ready && ready.error().number != EINTR) return ready.error();
    if (!ready || *ready == 0) continue;
    const auto got = sys::read(socket_.get(), into, kName);
    if (!got && got.error().number == ECONNRESET) return false;
    if (!got && got.error().number != EINTR) return got.error();
    if (got && *got == 0) return false;
    if (got) into = into.subspan(*got);
  }
  return true;
}

bool Channel::ready() const {
  std::array<pollfd, 1> watched{{{socket_.get(), POLLIN, 0}}};
  const auto ready = sys::poll(watched, 0);
  return ready && *ready > 0;
}

Result<std::optional<std::string>> Channel::receive(std::size_t most, const std::atomic<bool>& stop,
                                                    std::int64_t until_ns) {
  std::array<std::byte, 4> head{};
  auto there = fill(head, stop, until_ns);
  if (!there) return std::move(there).error();
  if (!*there) return std::optional<std::string>();
  const std::size_t size = ByteCursor(head).u32();
  if (size > most) return Error{Errc::limit, std::string(kName) + " says too much at once"};
  std::string message(size, '\0');
  there = fill(std::as_writable_bytes(std::span(message)), stop, until_ns);
  if (!there) return std::move(there).error();
  if (!*there) return std::optional<std::string>();
  return std::optional<std::string>(std::move(message));
}

Result<Child> Child::start(const Work& work, sys::Handler on_stop, std::span<Child* const> siblings) {
  auto ends = sys::socketpair(SOCK_STREAM);
  if (!ends) return std::move(ends).error();
  // Before the fork, so that no stop comes too early for the child.
  if (auto set = sys::on_signal(kStopSignal, on_stop); !set) return std::move(set).error();
  const int own_pid = sys::own_pid();
  auto forked = sys::fork();
  if (!forked) return std::move(forked).error();
  if (*forked == 0) {
    ends->first.reset();
    for (Child* sibling : siblings) sibling->channel_.close();
    Channel parent(std::move(ends->second));
    become(work, parent, own_pid);
  }
  return Child(*forked, std::move(ends->first));
}

Child::~Child() {
  if (pid_.number <= 0) return;
  const auto killed = sys::kill(pid_.number, SIGKILL);
  if (killed) (void)sys::waitpid(pid_.number, 0).has_value();
}

void Child::stop() {
  if (pid_.number > 0) (void)sys::kill(pid_.number, kStopSignal).has_value();
}

void Child::abandon() {
  channel_.close();
  if (pid_.number <= 0) return;
  const auto killed = sys::kill(pid_.number, SIGKILL);
  if (killed) (void)sys::waitpid(pid_.number, WNOHANG).has_value();
  pid_.number = 0;
}

Result<int> Child::wait() {
  channel_.close();
  for (;;) {
    const auto ended = sys::waitpid(pid_.number, 0);
    if (!ended && ended.error().number == EINTR) continue;
    pid_.number = 0;
    if (!ended) return ended.error();
    if (WIFEXITED(ended->status)) return WEXITSTATUS(ended->status);
    return Error{Errc::io,
                 std::string(kName) + " was ended by signal " + std::to_string(WTERMSIG(ended->status))};
  }
}

}  // namespace ctriage
