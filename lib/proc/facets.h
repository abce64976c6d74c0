#pragma once
// What read_process puts together. Each facet fails on its own, as a gap that is written only if the process
// was there to the end. Not for other modules.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/proc/proc.h"

namespace ctriage::proc {

class Facets {
 public:
  Facets(const Root& proc, Readers& readers, const Stat& stat, Task& task)
      : proc_(proc), readers_(readers), stat_(stat), path_(live_path(proc, stat)), task_(task) {}

  void read_credentials(Process& into);  // status
  void read_executable(Process& into);
  void read_links(Process& into);  // cwd, root
  void read_small(Process& into);  // cgroup, limits, timers, oom_score_adj, loginuid, attr/current
  void read_namespaces(Process& into);
  Status read_strings(Process& into);  // cmdline, environ; fails only when the task has to end
  // The path of the program where it is too long for the link. May hang like read_strings, and fails like it.
  Status find_long_path(Process& into);
  // It may have started another program while we read: then name and arguments may be of two.
  void check_executable(const Process& process);
  // Writes the gaps. `now` is the process at the end.
  void finish(const Stat& now);

 private:
  [[nodiscard]] bool has_memory() const { return !stat_.is_kernel_thread() && !stat_.has_ended(); }
  Result<std::string> read_own(std::string_view name);
  void lose(std::string_view facet, Error error);
  void read_link(std::string_view name, Bytes& into);
  Status read_vector(std::string_view name, std::string_view facet, std::vector<Bytes>& into,
                     std::optional<std::uint64_t>& whole);
  void check_strings(const Stat& now);

  const Root& proc_;
  Readers& readers_;
  const Stat& stat_;
  std::string path_;  // live_path: what a main thread that ended has not any more
  Task& task_;
  bool has_program_ = false;                    // and it could be looked at
  std::optional<std::uint64_t> got_arguments_;  // bytes, where all that was given was kept
  std::optional<std::uint64_t> got_variables_;
  std::vector<Gap> gaps_;
};

}  // namespace ctriage::proc
