#include "lib/core/program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "lib/core/sys.h"
#include "lib/core/sys_program.h"

namespace ctriage {
namespace {

constexpr std::int64_t kLookNs = 100'000'000;
constexpr std::int64_t kLastWordsNs = 1'000'000'000;  // what it started may hold its output open for good
constexpr std::size_t kBlockBytes = 64 << 10;
constexpr int kNotStarted = 127;

// What our own parent left open too.
void close_all_but(int one, int other) {
  const auto [low, high] = std::minmax(one, other);
  unsigned first = 3;
  for (const int kept : {low, high}) {
    if (kept < 3) continue;
    const auto number = static_cast<unsigned>(kept);
    if (number > first) sys::close_range(first, number - 1);
    first = number + 1;
  }
  sys::close_range(first, ~0U);
}

// In the child: from here on only what it was handed is open.
[[noreturn]] void become(const std::string& path, int file, const Program::Call& call, int input, int output,
                         int error, int parent) noexcept {
  const auto ready = [&]() -> Status {
    if (auto set = sys::end_with_parent(SIGKILL); !set || sys::parent_pid() != parent)
      return Error{Errc::vanished, "the parent"};
    for (const auto& [to, from] : {std::pair{0, input}, std::pair{1, output}, std::pair{2, error}}) {
      if (auto put = sys::replace(to, from); !put) return put;
      if (auto kept = sys::keep_over_exec(to); !kept) return kept;
    }
    if (call.handed >= 0) {
      if (auto kept = sys::keep_over_exec(call.handed); !kept) return kept;
    }
    close_all_but(file, call.handed);
    return sys::on_signal(SIGPIPE, SIG_DFL);
  };
  if (ready()) {
    std::vector<std::string> words{path};
    words.insert(words.end(), call.arguments.begin(), call.arguments.end());
    (void)sys::become(file, words, call.environment);
  }
  sys::exit_now(kNotStarted);
}

// The program while it runs. One that was not waited for is killed.
class Running {
 public:
  Running(int pid, const Program::Call& call, UniqueFd input, UniqueFd output, UniqueFd error)
      : pid_(pid),
        call_(call),
        input_(std::move(input)),
        output_(std::move(output)),
        error_(std::move(error)) {
    active_ns_ = sys::boottime_ns();
    // Wakes us when it ends; without it we look now and then.
    if (auto opened = sys::pidfd_open(pid)) alive_ = *std::move(opened);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (pid_ <= 0) return;
    if (sys::kill(pid_, SIGKILL)) (void)sys::waitpid(pid_, 0).has_value();
  }

  Result<Program::End> to_the_end(const Task& task) {
    for (;;) {
      if (auto going = task.check(); !going) return std::move(going).error();
      if (auto looked = look_once(); !looked) return std::move(looked).error();
      if (auto ended = look_whether_ended(); !ended) return std::move(ended).error();
      const std::int64_t now_ns = sys::boottime_ns();
      if (end_ && ((!output_ && !error_) || now_ns - active_ns_ > kLastWordsNs)) {
        end_->error = std::move(said_);
        return *std::move(end_);
      }
      if (!end_ && now_ns - active_ns_ > call_.stall_ns)
        return Error{Errc::timeout, "nothing moves any more"};
    }
  }

 private:
  Status look_once() {
    std::vector<pollfd> watched;
    for (const UniqueFd* from : {&output_, &error_}) {
      if (*from) watched.push_back({from->get(), POLLIN, 0});
    }
    if (input_) watched.push_back({input_.get(), POLLOUT, 0});
    if (!end_ && alive_) watched.push_back({alive_.get(), POLLIN, 0});
    const auto ready = sys::poll(watched, kLookNs);
    if (!ready) return ready.error().number == EINTR ? Status(Done{}) : Status(ready.error());
    for (const pollfd& one : watched) {
      if (one.revents == 0 || one.fd == alive_.get()) continue;
      active_ns_ = sys::boottime_ns();
      const bool ours = input_ && one.fd == input_.get();
      if (auto moved = ours ? give() : take(output_ && one.fd == output_.get() ? output_ : error_); !moved)
        return moved;
    }
    return Done{};
  }

  Status take(UniqueFd& from) {
    const auto got = sys::read(from.get(), block_, "what a program says");
    if (!got) return got.error().number == EINTR ? Status(Done{}) : Status(got.error());
    if (*got == 0) {
      from.reset();
      return Done{};
    }
    const auto bytes = std::span<const std::byte>(block_).first(*got);
    if (&from == &output_) return call_.output ? call_.output(bytes) : Status(Done{});
    said_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (said_.size() > Program::kMaxErrorBytes) said_.erase(0, said_.size() - Program::kMaxErrorBytes);
    return Done{};
  }

  Status give() {
    if (given_ == ready_) {
      if (call_.feed == nullptr) {
        input_.reset();
        return Done{};
      }
      const auto got = call_.feed->read(feed_);
      if (!got) return got.error();
      if (*got == 0) {
        input_.reset();
        return Done{};
      }
      given_ = 0;
      ready_ = *got;
    }
    const auto written = sys::write(
        input_.get(), std::span<const std::byte>(feed_).subspan(given_, ready_ - given_), "a program");
    if (written) {
      given_ += *written;
    } else if (written.error().number == EPIPE) {
      input_.reset();  // it will say why it wants no more
    } else if (written.error().number != EINTR && written.error().number != EAGAIN) {
      return written.error();
    }
    return Done{};
  }

  Status look_whether_ended() {
    if (end_) return Done{};
    const auto ended = sys::waitpid(pid_, WNOHANG);
    if (!ended) return ended.error();
    if (ended->pid == 0) return Done{};
    pid_ = 0;
    alive_.reset();
    active_ns_ = sys::boottime_ns();
    constexpr int kSignalled = 128;
    end_.emplace();
    end_->status =
        WIFEXITED(ended->status) ? WEXITSTATUS(ended->status) : kSignalled + WTERMSIG(ended->status);
    return Done{};
  }

  int pid_;
  const Program::Call& call_;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd error_;
  UniqueFd alive_;  // a pidfd
  std::vector<std::byte> block_ = std::vector<std::byte>(kBlockBytes);
  std::vector<std::byte> feed_ = std::vector<std::byte>(kBlockBytes);
  std::size_t given_ = 0;
  std::size_t ready_ = 0;
  std::string said_;
  std::optional<Program::End> end_;
  std::int64_t active_ns_ = 0;
};

}  // namespace

Result<Program> Program::find(std::span<const std::string_view> paths, const Task& task) {
  std::string looked;
  for (const std::string_view path : paths) {
    auto file = sys::openat2(AT_FDCWD, path, O_RDONLY);
    if (!file && file.error().is_gone()) {
      looked += (looked.empty() ? "" : ", ") + std::string(path);
      continue;
    }
    if (!file) return std::move(file).error();
    const auto info = sys::stat_fd(file->get(), path);
    if (!info) return info.error();
    if (!S_ISREG(info->stx_mode)) return Error{Errc::malformed, std::string(path) + ": is no program"};
    auto read = sys::reopen(file->get(), O_RDONLY, path);
    if (!read) return std::move(read).error();
    FdSource source(*std::move(read), std::string(path), task);
    const auto sha256 = hash_all(source);
    if (!sha256) return sha256.error();
    return Program(std::string(path), *std::move(file), *sha256);
  }
  return Error{Errc::not_found, "there is no " + looked};
}

Result<Program::End> Program::run(const Call& call, const Task& task) const {
  auto input = sys::pipe2();
  auto output = sys::pipe2();
  auto error = sys::pipe2();
  for (auto* pipe : {&input, &output, &error}) {
    if (!*pipe) return std::move(*pipe).error().within(path_);
  }
  // Ours alone never waits: the other end stays a pipe as every program expects it.
  auto opened = sys::reopen(input->second.get(), O_WRONLY | O_NONBLOCK, path_);
  if (!opened) return std::move(opened).error();
  UniqueFd giving = *std::move(opened);
  input->second.reset();
  const int parent = sys::own_pid();
  const auto forked = sys::fork();
  if (!forked) return forked.error();
  if (*forked == 0)
    become(path_, file_.get(), call, call.input >= 0 ? call.input : input->first.get(), output->second.get(),
           error->second.get(), parent);
  for (UniqueFd* theirs : {&input->first, &output->second, &error->second}) theirs->reset();
  if (call.input >= 0) giving.reset();
  Running running(*forked, call, std::move(giving), std::move(output->first), std::move(error->first));
  auto end = running.to_the_end(task);
  if (!end) return std::move(end).error().within(path_);
  if (end->status == kNotStarted && end->error.empty())
    return Error{Errc::io, path_ + ": could not be started"};
  return end;
}

}  // namespace ctriage
