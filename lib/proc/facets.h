#pragma once
// What read_process puts together. Each facet fails on its own, as a gap that is written only if the process
// was there to the end. Not for other modules.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/proc/proc.h"

namespace ctriage::proc {

class Facets {
 public:
  Facets(const Root& proc, Readers& readers, const Stat& stat, Task& task)
      : proc_(proc), readers_(readers), stat_(stat), task_(task) {}

  void read_credentials(Process& into);  // status
  void read_executable(Process& into);
  void read_links(Process& into);  // cwd, root
  void read_small(Process& into);  // cgroup, limits, oom_score_adj, loginuid, attr/current
  void read_namespaces(Process& into);
  Status read_strings(Process& into);  // cmdline, environ; fails only when the task has to end
  // It may have started another program while we read: then name and arguments may be of two.
  void check_executable(const Process& process);
  // Writes the gaps. `now` is the process at the end.
  void finish(const Stat& now);

 private:
  [[nodiscard]] bool has_memory() const { return !stat_.is_kernel_thread() && !stat_.has_ended(); }
  void lose(std::string_view facet, Error error);
  Status read_vector(std::string_view name, std::string_view facet, std::vector<Bytes>& into);

  const Root& proc_;
  Readers& readers_;
  const Stat& stat_;
  Task& task_;
  bool looked_at_ = false;  // what /proc/PID/exe is
  std::vector<Gap> gaps_;
};

}  // namespace ctriage::proc
