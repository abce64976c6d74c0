#include "lib/proc/freezer.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <csignal>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {

Status throw_switch(int fd, SwitchKind kind, bool stop) {
  switch (kind) {
    case SwitchKind::cgroup_v1:
      return sys::write_all(fd, stop ? "FROZEN" : "THAWED", "freezer.state");
    case SwitchKind::cgroup_v2:
      return sys::write_all(fd, stop ? "1" : "0", "cgroup.freeze");
    case SwitchKind::signal:
      return sys::pidfd_send_signal(fd, stop ? SIGSTOP : SIGCONT);
  }
  return Error{Errc::unsupported, "a freezer of no kind"};
}

namespace {

// One in the kernel's hands stops when it comes back from there.
Result<bool> are_threads_stopped(const Root& process) {
  const auto tasks = process.descend("task");
  if (!tasks) return tasks.error();
  const auto threads = list_names(*tasks, "");
  if (!threads) return threads.error();
  for (const std::string& thread : threads->names) {
    const auto text = tasks->read_file_in_root(thread + "/stat", kMaxProcTextBytes);
    if (!text) continue;  // ended
    const auto stat = parse_stat(*text);
    if (!stat) return stat.error();
    if (stat->state != 'T' && stat->state != 'Z' && stat->state != 'X') return false;  // 't' is traced
  }
  return true;
}

}  // namespace

Result<Freezer> Freezer::of_cgroup(const Root& hierarchy, SwitchKind kind, std::string path) {
  const std::size_t name = path.find_first_not_of('/');
  if (name == std::string::npos) return Error{Errc::unsupported, "the root cgroup is never frozen"};
  auto directory = hierarchy.descend(std::string_view(path).substr(name));
  if (!directory) return std::move(directory).error().within("cgroup " + path);
  return Freezer(*std::move(directory), kind, std::move(path), 0);
}

Result<Freezer> Freezer::of_process(const Root& process, std::int32_t pid) {
  auto own = process.duplicate();
  if (!own) return std::move(own).error();
  return Freezer(*std::move(own), SwitchKind::signal, "", pid);
}

Result<bool> Freezer::is_frozen() const {
  if (kind_ == SwitchKind::signal) return are_threads_stopped(directory_);
  const bool v2 = kind_ == SwitchKind::cgroup_v2;
  const auto text = directory_.read_file_in_root(v2 ? "cgroup.events" : "freezer.state", kMaxLineBytes);
  if (!text) return text.error();
  if (!v2) return text->starts_with("FROZEN");
  for (const std::string_view line : split(*text, '\n')) {
    if (line == "frozen 1") return true;
    if (line == "frozen 0") return false;
  }
  return Error{Errc::unsupported,
               "cgroup " + path_ + ": this kernel has no freezer of cgroup v2 (Linux 5.2)"};
}

Result<UniqueFd> Freezer::open_switch() const {
  if (kind_ == SwitchKind::signal) {
    auto opened = sys::pidfd_open(pid_);
    // As long as that one is there its number cannot be another's.
    if (auto there = directory_.read_file_in_root("stat", kMaxProcTextBytes); !there)
      return std::move(there).error();
    return opened;
  }
  return sys::openat2(directory_.fd(), kind_ == SwitchKind::cgroup_v2 ? "cgroup.freeze" : "freezer.state",
                      O_WRONLY | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

}  // namespace ctriage::proc
