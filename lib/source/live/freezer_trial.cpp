#include "lib/source/live/freezer_trial.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <csignal>
#include <string>
#include <utility>

#include "lib/core/sys.h"

namespace ctriage::source {
namespace {

constexpr std::int64_t kPauseNs = 1'000'000;
constexpr int kTries = 500;

// A child that waits to be ended, and ends with us.
class Waiter {
 public:
  static Result<Waiter> start() {
    const auto pid = sys::fork();
    if (!pid) return pid.error();
    if (*pid == 0) {
      if (!sys::end_with_parent(SIGKILL)) sys::exit_now(1);
      sys::sleep_ns(std::int64_t{60} * 1'000'000'000);
      sys::exit_now(0);
    }
    return Waiter(*pid);
  }
  Waiter(Waiter&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Waiter& operator=(Waiter&&) = delete;
  ~Waiter() {
    if (pid_ > 0 && sys::kill(pid_, SIGKILL)) (void)sys::waitpid(pid_, 0).has_value();
  }
  [[nodiscard]] int pid() const { return pid_; }

 private:
  explicit Waiter(int pid) : pid_(pid) {}
  int pid_;
};

Status becomes(const proc::Freezer& freezer, bool frozen) {
  for (int tries = 0; tries < kTries; ++tries) {
    const auto now = freezer.is_frozen();
    if (!now) return now.error();
    if (*now == frozen) return Done{};
    sys::sleep_ns(kPauseNs);
  }
  return Error{Errc::timeout, frozen ? "a process of ours did not stop" : "a process of ours did not go on"};
}

Status try_in(const Root& hierarchy, proc::SwitchKind kind, const std::string& name) {
  const auto freezer = proc::Freezer::of_cgroup(hierarchy, kind, "/" + name);
  const auto thrown = freezer ? freezer->open_switch() : Result<UniqueFd>(freezer.error());
  if (!thrown) return thrown.error();
  const auto members = sys::openat2(hierarchy.fd(), name + "/cgroup.procs", O_WRONLY | O_NOFOLLOW,
                                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (!members) return members.error();
  const auto waiter = Waiter::start();
  if (!waiter) return waiter.error();
  auto done = sys::write_all(members->get(), std::to_string(waiter->pid()), name + "/cgroup.procs");
  if (done) done = proc::throw_switch(thrown->get(), kind, true);
  if (done) done = becomes(*freezer, true);
  // Whatever came before: a frozen process of v1 does not even end.
  auto let_go = proc::throw_switch(thrown->get(), kind, false);
  if (done) done = std::move(let_go);
  if (done) done = becomes(*freezer, false);
  return done;
}

}  // namespace

Status try_freezer(const Root& hierarchy, proc::SwitchKind kind) {
  const std::string name = "ctriage-selftest-" + std::to_string(sys::own_pid());
  if (auto made = sys::mkdirat(hierarchy.fd(), name, 0755); !made) return made;
  auto tried = try_in(hierarchy, kind, name);
  Status removed = Done{};
  for (int tries = 0; tries < kTries; ++tries) {  // busy as long as the child is not gone from it
    removed = sys::unlinkat(hierarchy.fd(), name, AT_REMOVEDIR);
    if (removed) break;
    sys::sleep_ns(kPauseNs);
  }
  return tried ? removed : tried;
}

}  // namespace ctriage::source
