// The supervisor's side of the readers; theirs is in watchdog.cpp. Both belong to SOURCES of lib/proc.
#include "lib/proc/reader.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/sys_memory.h"
#include "lib/proc/reader_protocol.h"

namespace ctriage::proc {

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Error too_slow(std::string_view name) {
  return Error{Errc::timeout, "read " + std::string(name) + ": no answer in " +
                                  std::to_string(kReadTimeoutNs / 1'000'000'000) + " s"};
}

// Waits until the other end has said something or is gone. Errc::timeout, or what the task says.
Status wait_for(int socket, std::string_view name, const Task& task) {
  const std::int64_t give_up_ns = sys::boottime_ns() + kReadTimeoutNs;
  for (;;) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error().within(name);
    const std::int64_t now_ns = sys::boottime_ns();
    if (now_ns >= give_up_ns) return too_slow(name);
    std::array<pollfd, 1> watched{{{socket, POLLIN, 0}}};
    const std::int64_t until_ns = std::min(give_up_ns, std::max(task.deadline_ns, now_ns));
    const auto ready = sys::poll(watched, until_ns - now_ns);
    if (!ready && ready.error().number != EINTR) return ready.error();
    if (ready && *ready > 0) return Done{};
  }
}

// A message whole. Never waits: wait_for() came before.
Result<std::string_view> receive(int socket, std::string& buffer, UniqueFd* passed) {
  buffer.resize(kMaxAnswerBytes + 1);
  auto received = sys::receive(socket, std::as_writable_bytes(std::span(buffer)));
  if (!received) return std::move(received).error();
  if (received->size == 0) return Error{Errc::io, "the helper process ended"};
  if (passed != nullptr) *passed = std::move(received->passed);
  return std::string_view(buffer).substr(0, received->size);
}

}  // namespace

std::string encode_failure(const Error& error) {
  std::string message(1, kFailed);
  message += static_cast<char>(error.code);
  for (unsigned shift = 0; shift < 32; shift += 8) {
    message += static_cast<char>(static_cast<unsigned>(error.number) >> shift & 0xff);
  }
  return message.append(error.what, 0, kMaxAnswerBytes - message.size());
}

void append_integer(std::string& message, std::uint64_t value, unsigned bytes) {
  for (unsigned shift = 0; shift < 8 * bytes; shift += 8) message += static_cast<char>(value >> shift & 0xff);
}

Error decode_failure(std::string_view message) {
  ByteCursor in(std::as_bytes(std::span(message.data(), message.size())));
  const std::uint8_t kind = in.u8();
  const std::uint8_t code = in.u8();
  const std::uint32_t number = in.u32();
  if (!in.ok() || kind != static_cast<std::uint8_t>(kFailed) ||
      code > static_cast<std::uint8_t>(Errc::outside)) {
    return Error{Errc::malformed, "the helper process answered nonsense"};
  }
  return Error{static_cast<Errc>(code), std::string(in.text(in.left())), static_cast<int>(number)};
}

struct Readers::State {
  UniqueFd watchdog;
  UniqueFd reader;  // none: the next open asks for one
  int watchdog_pid = 0;
  std::uint64_t opened = 0;     // which open is the current one
  std::optional<Error> broken;  // the watchdog itself is gone or stuck
  std::string buffer;
  std::span<std::byte> shared;  // with all readers: what kFetch reads
  std::mutex whole_file;        // of read_file

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // The end of the socket tells the watchdog to end. If it does not (somebody stopped it), it is killed; the
  // kernel then kills its reader (PR_SET_PDEATHSIG).
  ~State() {
    reader.reset();
    watchdog.reset();
    sys::unmap(shared);
    if (watchdog_pid <= 0) return;
    for (std::int64_t waited_ns = 0, pause_ns = 100'000;; waited_ns += pause_ns) {
      const auto ended = sys::waitpid(watchdog_pid, WNOHANG);
      if (ended && ended->pid != 0) return;
      if (!ended && ended.error().number == ECHILD) return;
      if (waited_ns > kReadTimeoutNs) break;
      sys::sleep_ns(pause_ns);
      pause_ns = std::min<std::int64_t>(pause_ns * 2, 20'000'000);
    }
    const auto killed = sys::kill(watchdog_pid, SIGKILL);
    if (killed) (void)sys::waitpid(watchdog_pid, 0).has_value();
  }

  // The reader is stuck, dead or owes an answer nobody waits for: away with it.
  void drop_reader() {
    reader.reset();
    if (broken) return;
    if (auto sent = sys::send(watchdog.get(), bytes_of({&kKillReader, 1})); !sent)
      broken = std::move(sent).error();
  }

  Status need_reader(const Task& task) {
    if (broken) return *broken;
    if (reader) return Done{};
    bool answered = false;
    auto started = start_reader(task, answered);
    // An answer that comes late would be taken for that of the next request.
    if (!started && !answered) broken = started.error();
    return started;
  }

  Status start_reader(const Task& task, bool& answered) {
    if (auto sent = sys::send(watchdog.get(), bytes_of({&kNewReader, 1})); !sent)
      return std::move(sent).error();
    if (auto ready = wait_for(watchdog.get(), "watchdog", task); !ready) return std::move(ready).error();
    UniqueFd socket;
    const auto answer = receive(watchdog.get(), buffer, &socket);
    if (!answer) return answer.error();
    answered = true;
    if (answer->front() != kReady || !socket) return decode_failure(*answer);
    reader = std::move(socket);
    return Done{};
  }

  // The same of the watchdog. Not to be ended by a signal or a deadline: the target stands still.
  Result<std::string_view> ask_watchdog(std::string_view request, char expected, const Task& task,
                                        int passed = -1) {
    if (broken) return *broken;
    static const std::atomic<bool> never{false};
    const Task whole{task.gaps, never, task.now};
    auto sent = sys::send(watchdog.get(), bytes_of(request), passed);
    if (sent) sent = wait_for(watchdog.get(), "watchdog", whole);
    auto answer =
        sent ? receive(watchdog.get(), buffer, nullptr) : Result<std::string_view>(std::move(sent).error());
    if (!answer) {
      broken = answer.error();  // what it says later would be taken for another answer
      return answer;
    }
    if (answer->front() == expected) return answer->substr(1);
    return decode_failure(*answer);
  }

  // Asks the reader and waits for the answer. A kFailed answer is the Error of the file; after any other
  // failure the reader is of no use any more.
  Result<std::string_view> ask(std::string_view request, char expected, std::string_view name,
                               const Task& task, int passed = -1, UniqueFd* given = nullptr) {
    if (auto sent = send(request, name, passed); !sent) return std::move(sent).error();
    return take_answer(expected, name, task, given);
  }

  Status send(std::string_view request, std::string_view name, int passed = -1) {
    auto sent = sys::send(reader.get(), bytes_of(request), passed);
    if (sent) return Done{};
    drop_reader();
    return std::move(sent).error().within(name);
  }

  Result<std::string_view> take_answer(char expected, std::string_view name, const Task& task,
                                       UniqueFd* given = nullptr) {
    auto answer = next_answer(name, task, given);
    if (!answer) {
      drop_reader();
      return answer;
    }
    if (answer->front() == expected) return answer->substr(1);
    Error failure = decode_failure(*answer);
    if (failure.code == Errc::malformed) drop_reader();
    return failure;
  }

 private:
  Result<std::string_view> next_answer(std::string_view name, const Task& task, UniqueFd* given) {
    if (auto ready = wait_for(reader.get(), name, task); !ready) return std::move(ready).error();
    auto answer = receive(reader.get(), buffer, given);
    if (!answer) return std::move(answer).error().within(name);
    return answer;
  }
};

namespace {

// One open file of the reader. `ask` and `close` reach it as long as no other was opened.
template <class State>
class ReaderSource final : public ByteSource {
 public:
  ReaderSource(std::shared_ptr<State> state, std::string name, const Task& task)
      : state_(std::move(state)), name_(std::move(name)), task_(task), number_(state_->opened) {}

  ~ReaderSource() override {
    // An open file of a process pins its address space: let go of it now.
    if (!is_current()) return;
    if (auto sent = sys::send(state_->reader.get(), bytes_of({&kClose, 1})); !sent) state_->drop_reader();
  }

  Result<std::size_t> read(std::span<std::byte> into) override {
    if (failed_) return *failed_;
    if (into.empty()) return std::size_t{0};
    if (!is_current()) return Error{Errc::io, "read " + name_ + ": another file was opened since"};
    std::string request(1, kRead);
    const auto size = static_cast<std::uint32_t>(std::min(into.size(), kMaxAnswerBytes));
    for (unsigned shift = 0; shift < 32; shift += 8) request += static_cast<char>(size >> shift & 0xff);
    const auto bytes = state_->ask(request, kBytes, name_, task_);
    if (!bytes) {
      failed_ = bytes.error();
      return *failed_;
    }
    if (bytes->size() > into.size())
      return Error{Errc::malformed, name_ + ": the helper process answered nonsense"};
    if (!bytes->empty()) std::memcpy(into.data(), bytes->data(), bytes->size());
    return bytes->size();
  }

 private:
  [[nodiscard]] bool is_current() const { return state_->reader && state_->opened == number_; }

  std::shared_ptr<State> state_;
  std::string name_;
  const Task& task_;
  std::uint64_t number_;
  std::optional<Error> failed_;  // stays failed: what follows a hole is not the file
};

}  // namespace

Result<Readers> Readers::start(const Root& proc) {
  auto pair = sys::socketpair(SOCK_SEQPACKET);
  if (!pair) return std::move(pair).error();
  auto state = std::make_shared<State>();
  auto shared = sys::map_shared(kSlots * kSlotBytes);
  if (!shared) return std::move(shared).error();
  state->shared = *shared;
  const int supervisor_pid = sys::own_pid();
  const auto pid = sys::fork();
  if (!pid) return pid.error();
  if (*pid == 0) run_watchdog(proc.fd(), std::move(pair->second), supervisor_pid, *shared);
  state->watchdog = std::move(pair->first);
  state->watchdog_pid = *pid;
  return Readers(std::move(state));
}

Readers::Readers(std::shared_ptr<State> state) : state_(std::move(state)) {}
Readers::Readers(Readers&&) noexcept = default;
Readers& Readers::operator=(Readers&&) noexcept = default;
Readers::~Readers() = default;

Result<std::unique_ptr<ByteSource>> Readers::open(char request, int passed, std::string_view name,
                                                  const Task& task) {
  ++state_->opened;
  if (auto ready = state_->need_reader(task); !ready) {
    return std::move(ready).error().within("open " + std::string(name));
  }
  const auto answer = state_->ask(std::string(1, request).append(name), kReady, name, task, passed);
  if (!answer) return answer.error();
  return std::unique_ptr<ByteSource>(std::make_unique<ReaderSource<State>>(state_, std::string(name), task));
}

Result<std::unique_ptr<ByteSource>> Readers::open(std::string_view name, const Task& task) {
  return open(kOpen, -1, name, task);
}

Result<std::unique_ptr<ByteSource>> Readers::open_pinned(int pinned, std::string_view name,
                                                         const Task& task) {
  return open(kAdopt, pinned, name.substr(0, kMaxNameBytes), task);
}

Result<std::uint64_t> Readers::file_system(int pinned, std::string_view name, const Task& task) {
  name = name.substr(0, kMaxNameBytes);
  ++state_->opened;
  if (auto ready = state_->need_reader(task); !ready) return std::move(ready).error().within(name);
  const auto answer = state_->ask(std::string(1, kKind).append(name), kBytes, name, task, pinned);
  if (!answer) return answer.error();
  ByteCursor in(bytes_of(*answer));
  const std::uint64_t kind = in.u64();
  if (!in.ok()) return Error{Errc::malformed, "the helper process answered nonsense"};
  return kind;
}

Result<UniqueFd> Readers::pin_magic(std::string_view name, const Task& task) {
  ++state_->opened;
  if (auto ready = state_->need_reader(task); !ready) return std::move(ready).error().within(name);
  UniqueFd pinned;
  const auto answer = state_->ask(std::string(1, kPin).append(name), kReady, name, task, -1, &pinned);
  if (!answer) return answer.error();
  if (!pinned) return Error{Errc::malformed, "the helper process answered nonsense"};
  return pinned;
}

Status Readers::stop_target(int fd, SwitchKind kind, std::int64_t most_ns, const Task& task) {
  std::string request(1, kStop);
  append_integer(request, static_cast<std::uint64_t>(kind), 1);
  append_integer(request, static_cast<std::uint64_t>(most_ns), 8);
  const auto answer = state_->ask_watchdog(request, kReady, task, fd);
  if (!answer) return answer.error();
  return Done{};
}

Result<bool> Readers::let_go(const Task& task) {
  const auto answer = state_->ask_watchdog({&kLetGo, 1}, kBytes, task);
  if (!answer) return answer.error();
  if (answer->size() != 1) return Error{Errc::malformed, "the helper process answered nonsense"};
  return answer->front() == 0;
}

Status Readers::send_request(std::string_view request, std::string_view name, const Task& task) {
  if (auto ready = state_->need_reader(task); !ready) return std::move(ready).error().within(name);
  return state_->send(request, name);
}

Result<std::string_view> Readers::receive_answer(char expected, std::string_view name, const Task& task) {
  if (!state_->reader) return Error{Errc::io, std::string(name) + ": the helper process ended"};
  return state_->take_answer(expected, name, task);
}

std::span<const std::byte> Readers::shared() const { return state_->shared; }

void Readers::drop_reader() { state_->drop_reader(); }

Result<std::string> Readers::read_file(std::string_view name, std::size_t most, const Task& task) {
  const std::lock_guard lock(state_->whole_file);
  auto source = open(name, task);
  if (!source) return std::move(source).error();
  auto text = read_all(**source, most);
  if (!text && text.error().code == Errc::limit) return std::move(text).error().within(name);
  return text;
}

}  // namespace ctriage::proc
