// System calls on processes, channels, clocks and rights.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

Result<UniqueFd> pidfd_open(int pid) {
  const long fd = attempt(Call::process, [&] { return ::syscall(SYS_pidfd_open, pid, 0); });
  if (fd < 0) return failed("pidfd_open", std::to_string(pid));
  return UniqueFd(static_cast<int>(fd));
}

Status kill(int pid, int signal) {
  return done_or(attempt(Call::process, [&] { return ::kill(pid, signal); }), "kill", std::to_string(pid));
}

Status pidfd_send_signal(int pidfd, int signal) {
  const auto call = [&] { return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0U); };
  return done_or(static_cast<int>(attempt(Call::process, call)), "pidfd_send_signal", std::to_string(signal));
}

Result<int> fork() {
  const pid_t pid = attempt(Call::process, [] { return ::fork(); });
  if (pid < 0) return failed("fork", "a helper process");
  return static_cast<int>(pid);
}

Result<Waited> waitpid(int pid, int flags) {
  Waited waited;
  const pid_t ended = attempt(Call::process, [&] { return ::waitpid(pid, &waited.status, flags); });
  if (ended < 0) return failed("wait for", std::to_string(pid));
  waited.pid = static_cast<int>(ended);
  return waited;
}

void exit_now(int status) noexcept { ::_exit(status); }

Status on_signal(int signal, Handler handler) {
  struct sigaction action {};
  action.sa_handler =
      handler;  // no SA_RESTART: a read that waits ends, and its caller looks at the stop flag
  sigemptyset(&action.sa_mask);
  return done_or(attempt(Call::process, [&] { return ::sigaction(signal, &action, nullptr); }),
                 "handle signal", std::to_string(signal));
}

Status end_with_parent(int signal) {
  return done_or(attempt(Call::confine, [&] { return ::prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0); }), "prctl",
                 "PR_SET_PDEATHSIG");
}

int parent_pid() noexcept { return ::getppid(); }
int own_pid() noexcept { return ::getpid(); }

Result<Pair> socketpair(int type) {
  int ends[2] = {-1, -1};
  if (attempt(Call::channel, [&] { return ::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends); }) < 0) {
    return failed("make", "a socket pair");
  }
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<Pair> pipe2(int flags) {
  int ends[2] = {-1, -1};
  if (attempt(Call::channel, [&] { return ::pipe2(ends, flags | O_CLOEXEC); }) < 0)
    return failed("make", "a pipe");
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

namespace {

union Control {  // room for one descriptor, aligned as CMSG_FIRSTHDR wants it, cmsg(3)
  cmsghdr header;
  char room[CMSG_SPACE(sizeof(int))];
};

}  // namespace

Status send(int socket, std::span<const std::byte> bytes, int passed) {
  // sendmsg(2) does not write there; iovec serves both directions.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  if (passed >= 0) {
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
  }
  return done_or(attempt_once(Call::channel, [&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL); }),
                 "send to", "a helper process");
}

Result<Received> receive(int socket, std::span<std::byte> into) {
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  message.msg_control = control.room;
  message.msg_controllen = sizeof control.room;
  const ssize_t size =
      attempt_once(Call::channel, [&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC); });
  if (size < 0) return failed("receive from", "a helper process");
  Received received;
  received.size = static_cast<std::size_t>(size);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    received.passed.reset(fd);
  }
  return received;
}

Result<int> poll(std::span<pollfd> watched, std::int64_t timeout_ns) {
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  const int ready = attempt_once(Call::poll, [&] {
    return ::ppoll(watched.data(), watched.size(), timeout_ns < 0 ? nullptr : &timeout, nullptr);
  });
  if (ready < 0) return failed("poll", std::to_string(watched.size()) + " descriptors");
  return ready;
}

Timestamp realtime() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec)};
}

std::int64_t boottime_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::int64_t cpu_time_ns() noexcept {
  timespec own{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  rusage children{};
  ::getrusage(RUSAGE_CHILDREN, &children);
  const auto ns = [](const timeval& time) {
    return (std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec) * 1'000;
  };
  return std::int64_t{own.tv_sec} * 1'000'000'000 + own.tv_nsec + ns(children.ru_utime) +
         ns(children.ru_stime);
}

void sleep_ns(std::int64_t duration_ns) noexcept {
  const timespec duration{duration_ns / 1'000'000'000, duration_ns % 1'000'000'000};
  ::nanosleep(&duration, nullptr);
}

Result<struct ::utsname> uname() {
  struct ::utsname found {};
  if (attempt(Call::query, [&] { return ::uname(&found); }) < 0) return failed("uname", "this system");
  return found;
}

std::uint32_t geteuid() noexcept { return ::geteuid(); }

Result<std::uint64_t> effective_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (attempt(Call::query, [&] { return ::syscall(SYS_capget, &header, data); }) < 0) {
    return failed("capget", "ourselves");
  }
  return std::uint64_t{data[1].effective} << 32 | data[0].effective;
}

Result<RlimitValues> getrlimit(int resource) {
  rlimit values{};
  const auto call = [&] { return ::prlimit(0, static_cast<__rlimit_resource>(resource), nullptr, &values); };
  if (attempt(Call::query, call) < 0) return failed("getrlimit", std::to_string(resource));
  return RlimitValues{values.rlim_cur, values.rlim_max};
}

Status setrlimit(int resource, RlimitValues values) {
  const rlimit wanted{values.soft, values.hard};
  const auto call = [&] { return ::prlimit(0, static_cast<__rlimit_resource>(resource), &wanted, nullptr); };
  return done_or(attempt(Call::query, call), "setrlimit", std::to_string(resource));
}

unsigned cpu_count() noexcept {
  // sched_getaffinity(2) wants room for every possible CPU; 1024 is glibc's set, large machines have up to
  // 8192.
  std::vector<unsigned long> mask(8192 / (8 * sizeof(unsigned long)));
  const long size = ::syscall(SYS_sched_getaffinity, 0, mask.size() * sizeof(unsigned long), mask.data());
  int count = 0;
  if (size > 0) {
    for (const unsigned long word : mask) count += __builtin_popcountl(word);
  }
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

bool is_terminal(int fd) noexcept { return ::isatty(fd) == 1; }

std::optional<unsigned> terminal_columns(int fd) noexcept {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0) return std::nullopt;
  return size.ws_col;
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = ::secure_getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

Status no_new_privileges() {
  return done_or(attempt(Call::confine, [] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }), "prctl",
                 "PR_SET_NO_NEW_PRIVS");
}

Status install_filter(std::span<const ::sock_filter> program) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};  // NOLINT: seccomp(2) reads it
  const auto call = [&] {
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
  };
  const long result = attempt(Call::confine, call);
  if (result > 0) {  // the id of a thread that could not be brought along, seccomp(2)
    errno = ESRCH;
    return failed("install", "the seccomp filter in every thread");
  }
  return done_or(result, "install", "the seccomp filter");
}

Result<unsigned> landlock_abi() {
  const auto call = [] {
    return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  };
  const long version = attempt(Call::confine, call);
  if (version < 0) return failed("ask for", "Landlock");
  return static_cast<unsigned>(version);
}

Result<UniqueFd> landlock_create(const ::landlock_ruleset_attr& attributes, std::size_t size) {
  const auto call = [&] { return ::syscall(SYS_landlock_create_ruleset, &attributes, size, 0); };
  const long fd = attempt(Call::confine, call);
  if (fd < 0) return failed("create", "a Landlock ruleset");
  return UniqueFd(static_cast<int>(fd));
}

Status landlock_allow(int ruleset, int below, std::uint64_t rights) {
  ::landlock_path_beneath_attr rule{};
  rule.allowed_access = rights;
  rule.parent_fd = below;
  const auto call = [&] {
    return ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  };
  return done_or(attempt(Call::confine, call), "add a rule to", "the Landlock ruleset");
}

Status landlock_restrict(int ruleset) {
  return done_or(attempt(Call::confine, [&] { return ::syscall(SYS_landlock_restrict_self, ruleset, 0); }),
                 "enter", "the Landlock ruleset");
}

}  // namespace ctriage::sys
