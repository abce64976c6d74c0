#pragma once
// Stops processes where they are and lets them go on: the freezer of a cgroup, or SIGSTOP to one process.
//
//   v2  cgroup.freeze "1"/"0", cgroup.events "frozen 1"      Documentation/admin-guide/cgroup-v2.rst
//   v1  freezer.state "FROZEN"/"THAWED" Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst
//   SIGSTOP/SIGCONT through a pidfd, State T of proc_pid_stat(5): its parent is told, waitpid(2) WUNTRACED
//
// Who throws the switch is the watchdog (Readers::stop_target), which throws it back when we are gone.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/unique_fd.h"
#include "lib/model/kinds.h"

namespace ctriage::proc {

enum class SwitchKind : std::uint8_t { cgroup_v1, cgroup_v2, signal };

// `fd`: freezer.state, cgroup.freeze, or a pidfd.
Status throw_switch(int fd, SwitchKind kind, bool stop);

class Freezer {
 public:
  // The cgroup named by a line of /proc/PID/cgroup below the mount of its hierarchy; `path` begins with "/".
  static Result<Freezer> of_cgroup(const Root& hierarchy, SwitchKind kind, std::string path);
  // One process alone, an open /proc/PID.
  static Result<Freezer> of_process(const Root& process, std::int32_t pid);

  [[nodiscard]] SwitchKind kind() const { return kind_; }
  [[nodiscard]] const std::string& path() const { return path_; }  // of the cgroup; empty: a process
  // Whether all of it stands still now, whoever stopped it.
  [[nodiscard]] Result<bool> is_frozen() const;
  // What throw_switch() takes. Errc::denied without CAP_DAC_OVERRIDE, or where cgroups are read-only.
  [[nodiscard]] Result<UniqueFd> open_switch() const;

 private:
  Freezer(Root directory, SwitchKind kind, std::string path, std::int32_t pid)
      : directory_(std::move(directory)), kind_(kind), path_(std::move(path)), pid_(pid) {}
  Root directory_;  // of the cgroup, or /proc/PID
  SwitchKind kind_;
  std::string path_;
  std::int32_t pid_ = 0;
};

}  // namespace ctriage::proc
