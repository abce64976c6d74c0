// The watchdog and the readers it forks: small, single-threaded, with no descriptor but those they need.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <initializer_list>
#include <vector>

#include "lib/core/cursor.h"
#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "lib/proc/memory_reader.h"
#include "lib/proc/reader_protocol.h"
#include "lib/proc/tracer.h"

namespace ctriage::proc {

namespace {

constexpr std::int64_t kTryAgainNs = 10'000'000;  // where the target could not be let go
constexpr int kTries = 1'000;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// ^C reaches the whole group; only the supervisor answers it, and its end is ours.
void ignore_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) {
    if (auto ignored = sys::on_signal(signal, SIG_IGN); !ignored) sys::exit_now(1);
  }
}

// Whatever the supervisor had open (its output, a terminal, the examiner's pipe) is not ours to hold. The
// standard descriptors become O_PATH ones, so that a stray message goes nowhere rather than into what takes
// their number next.
void keep_only(int proc, std::initializer_list<int> others) {
  for (const int fd : {0, 1, 2}) {
    if (auto replaced = sys::replace(fd, proc); !replaced) sys::exit_now(1);
  }
  std::vector<int> kept(others);
  kept.push_back(proc);
  std::sort(kept.begin(), kept.end());
  unsigned first = 3;
  for (const int fd : kept) {
    if (fd < 3) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number > first) sys::close_range(first, number - 1);
    first = number + 1;
  }
  sys::close_range(first, UINT_MAX);
}

// A message, or an empty one when the other end is gone.
std::string_view next_request(int socket, std::string& buffer, UniqueFd* passed = nullptr) {
  buffer.resize(8 << 10);
  for (;;) {
    auto received = sys::receive(socket, std::as_writable_bytes(std::span(buffer)));
    if (received && passed != nullptr) *passed = std::move(received->passed);
    if (received) return std::string_view(buffer).substr(0, received->size);
    if (received.error().number != EINTR) return {};
  }
}

void answer(int socket, std::string_view message) {
  if (auto sent = sys::send(socket, bytes_of(message)); !sent) sys::exit_now(1);
}

// "R" and the size in 4 bytes.
std::string read_some(const UniqueFd& file, std::string_view request, std::string_view name) {
  ByteCursor in(bytes_of(request.substr(1)));
  const std::size_t size = std::min<std::size_t>(in.u32(), kMaxAnswerBytes);
  if (!file) return encode_failure(Error{Errc::io, "read: no file is open"});
  std::string message(1 + size, kBytes);
  const auto got = sys::read(file.get(), std::as_writable_bytes(std::span(message).subspan(1)), name);
  if (!got) return encode_failure(got.error());
  message.resize(1 + *got);
  return message;
}

Result<UniqueFd> open_passed(const UniqueFd& pinned, std::string_view name) {
  const auto info = file_info(pinned.get(), name);
  if (!info) return info.error();
  if (!info->is_regular()) return Error{Errc::unsupported, std::string(name) + ": not a regular file"};
  return sys::reopen(pinned.get(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_NOATIME, name);
}

std::string kind_of(const UniqueFd& pinned, std::string_view name) {
  const auto fs = sys::statfs(pinned.get(), name);
  if (!fs) return encode_failure(fs.error());
  std::string message(1, kBytes);
  for (unsigned shift = 0; shift < 64; shift += 8) {
    message += static_cast<char>(static_cast<std::uint64_t>(fs->f_type) >> shift & 0xff);
  }
  return message;
}

[[noreturn]] void run_reader(const Root& proc, UniqueFd supervisor, int watchdog_pid,
                             std::span<std::byte> shared) {
  if (auto set = sys::end_with_parent(SIGKILL); !set || sys::parent_pid() != watchdog_pid) sys::exit_now(1);
  keep_only(proc.fd(), {supervisor.get()});
  std::string buffer;
  std::string name;
  UniqueFd file;
  MemoryReader memory(proc, shared);
  Tracer tracer(proc, shared);
  for (;;) {
    UniqueFd passed;
    const std::string_view request = next_request(supervisor.get(), buffer, &passed);
    if (request.empty()) sys::exit_now(0);
    if (request.front() == kKind) {
      answer(supervisor.get(), kind_of(passed, request.substr(1)));
    } else if (request.front() == kPin) {
      const auto pinned = proc.pin_magic(request.substr(1));
      if (pinned) {
        if (auto sent = sys::send(supervisor.get(), bytes_of({&kReady, 1}), pinned->get()); !sent)
          sys::exit_now(1);
      } else {
        answer(supervisor.get(), encode_failure(pinned.error()));
      }
    } else if (request.front() == kOpen || request.front() == kAdopt) {
      file.reset();
      name = request.substr(1);
      auto opened = request.front() == kOpen ? proc.open_beneath(name) : open_passed(passed, name);
      answer(supervisor.get(), opened ? std::string(1, kReady) : encode_failure(opened.error()));
      if (opened) file = *std::move(opened);
    } else if (request.front() == kRead) {
      answer(supervisor.get(), read_some(file, request, name));
    } else if (request.front() == kMemory) {
      answer(supervisor.get(), memory.open(request));
    } else if (request.front() == kScan) {
      answer(supervisor.get(), memory.scan(request));
    } else if (request.front() == kFetch) {
      answer(supervisor.get(), memory.fetch(request));
    } else if (request.front() == kRegisters) {
      answer(supervisor.get(), tracer.read(request));
      if (tracer.must_end()) sys::exit_now(0);
    } else {
      file.reset();
      memory.close();
    }
  }
}

class Watchdog {
 public:
  Watchdog(int proc, UniqueFd supervisor, std::span<std::byte> shared)
      : proc_(Root::adopt(UniqueFd(proc), "/proc")), supervisor_(std::move(supervisor)), shared_(shared) {}

  // Serves until the supervisor is gone: the end of its socket, or of itself where a child of it still holds
  // that.
  void serve(const UniqueFd& supervisor_alive) {
    std::string buffer;
    while (!supervisor_gone_) {
      std::array<pollfd, 2> watched{{{supervisor_.get(), POLLIN, 0}, {supervisor_alive.get(), POLLIN, 0}}};
      const auto ready =
          sys::poll(watched, stopped_ ? std::max<std::int64_t>(let_go_ns_ - sys::boottime_ns(), 0) : -1);
      if (!ready && ready.error().number == EINTR) continue;
      if (stopped_ && sys::boottime_ns() >= let_go_ns_) {
        (void)let_go().has_value();
      }
      if (ready && *ready == 0) continue;
      if (!ready || watched[1].revents != 0) return;
      UniqueFd passed;
      const std::string_view request = next_request(supervisor_.get(), buffer, &passed);
      if (request.empty()) return;
      if (request.front() == kStop) {
        say(stop(request, std::move(passed)));
      } else if (request.front() == kLetGo) {
        const bool over = !stopped_;
        const auto done = let_go();
        say(done ? std::string{kBytes, static_cast<char>(over)} : encode_failure(done.error()));
      } else {
        kill_reader();
        if (request.front() == kNewReader) start_reader();
      }
    }
  }

  // Whatever the supervisor left standing still goes on.
  Status let_go() {
    if (!stopped_) return Done{};
    auto done = throw_switch(stopped_.get(), kind_, false);
    // Its processes, or its cgroup, are gone: nothing stands still any more.
    if (!done && (done.error().number == ESRCH || done.error().number == ENODEV)) done = Done{};
    if (done) {
      stopped_.reset();
    } else {
      let_go_ns_ = sys::boottime_ns() + kTryAgainNs;
    }
    return done;
  }

  void kill_reader() {
    if (reader_pid_ > 0 && sys::kill(reader_pid_, SIGKILL)) killed_.push_back(reader_pid_);
    reader_pid_ = 0;
    reap();
  }

  // Does not wait: a reader that is stuck where no signal reaches it must not take the watchdog with it.
  void reap() {
    std::erase_if(killed_, [](int pid) {
      const auto ended = sys::waitpid(pid, WNOHANG);
      return !ended || ended->pid != 0;
    });
  }

  [[nodiscard]] bool has_unreaped() const { return !killed_.empty(); }

 private:
  void start_reader() {
    auto pair = sys::socketpair(SOCK_SEQPACKET);
    if (!pair) return say(encode_failure(pair.error()));
    const int own_pid = sys::own_pid();
    const auto pid = sys::fork();
    if (!pid) return say(encode_failure(pid.error()));
    if (*pid == 0) run_reader(proc_, std::move(pair->second), own_pid, shared_);
    reader_pid_ = *pid;
    if (auto sent = sys::send(supervisor_.get(), bytes_of({&kReady, 1}), pair->first.get()); !sent) {
      say(encode_failure(sent.error()));
    }
  }

  // Not answer(): a target that stands still comes first.
  void say(std::string_view message) {
    if (!sys::send(supervisor_.get(), bytes_of(message))) supervisor_gone_ = true;
  }

  std::string stop(std::string_view request, UniqueFd passed) {
    ByteCursor in(bytes_of(request.substr(1)));
    const std::uint8_t kind = in.u8();
    const auto most_ns = static_cast<std::int64_t>(in.u64());
    if (!in.ok() || kind > static_cast<std::uint8_t>(SwitchKind::signal) || most_ns < 0 || !passed ||
        stopped_)
      return encode_failure(Error{Errc::malformed, "stop: not understood"});
    kind_ = static_cast<SwitchKind>(kind);
    stopped_ = std::move(passed);
    let_go_ns_ = sys::boottime_ns() + most_ns;
    if (auto done = throw_switch(stopped_.get(), kind_, true); !done) {
      static_cast<void>(let_go().has_value());  // half of it may have been done
      stopped_.reset();
      return encode_failure(done.error());
    }
    return {kReady};
  }

  Root proc_;
  UniqueFd supervisor_;
  std::span<std::byte> shared_;
  bool supervisor_gone_ = false;
  UniqueFd stopped_;  // what lets the target go on; none: it runs
  SwitchKind kind_ = SwitchKind::signal;
  std::int64_t let_go_ns_ = 0;
  int reader_pid_ = 0;
  std::vector<int> killed_;
};

}  // namespace

void run_watchdog(int proc, UniqueFd supervisor, int supervisor_pid, std::span<std::byte> shared) {
  ignore_signals();
  keep_only(proc, {supervisor.get()});
  // Without pidfd_open(2) (before Linux 5.3) the end of the socket is the only sign.
  UniqueFd alive = sys::pidfd_open(supervisor_pid).value_or(UniqueFd());
  if (sys::parent_pid() != supervisor_pid) sys::exit_now(1);
  Watchdog watchdog(proc, std::move(supervisor), shared);
  watchdog.serve(alive);
  for (int tries = 0; tries < kTries && !watchdog.let_go(); ++tries) sys::sleep_ns(kTryAgainNs);
  watchdog.kill_reader();
  for (int tries = 0; tries < 20 && watchdog.has_unreaped(); ++tries) {
    sys::sleep_ns(1'000'000);
    watchdog.reap();
  }
  sys::exit_now(0);
}

}  // namespace ctriage::proc
