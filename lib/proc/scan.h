#pragma once
// The processes of the node as find_members needs them, read fast enough to meet those that keep moving to
// new pids (fork(2), and the parent ends). Not for other modules.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/proc/cgroup_rule.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {

using Inode = std::optional<std::uint64_t>;

struct Namespaces {
  Inode mnt;
  Inode pid_namespace;
};

struct Entry {
  std::int32_t pid = 0;
  std::int32_t ppid = 0;
  std::int32_t session = 0;
  std::uint64_t start_ticks = 0;
  Bytes comm;
  Inode mnt;
  Inode pid_namespace;
  std::shared_ptr<const Cgroups> cgroups;  // empty where they could not be read; those of others are the same
  const Entry* parent = nullptr;           // set in read_all's answer, where it is one of them
  bool ended = false;                      // a zombie
  bool cut = false;                        // went away while it was read
  bool late = false;                       // not there yet when we began
};

const Entry* find_entry(const std::vector<Entry>& by_pid, std::int32_t pid);

class Scan {
 public:
  Scan(const Root& proc, Task& task) : proc_(proc), task_(task) {}

  Result<std::vector<Entry>> read_all(const Namespaces& host);  // ascending by pid
  Namespaces read_namespaces(std::int32_t pid);
  void report_denied();
  // New processes kept coming until we gave up, and of none of them we could read whose it is.
  [[nodiscard]] bool saw_only_shadows() const { return !settled_ && late_read_ == 0 && late_unread_ > 0; }
  [[nodiscard]] std::uint64_t late_unread() const { return late_unread_; }

 private:
  // What was read of one process, and what could not be.
  struct Read {
    std::optional<Entry> entry;
    std::optional<std::string> cgroup;  // the text
    std::uint64_t denied = 0;
    std::optional<Error> first_denied;
    bool unread = false;  // it was there, and is gone or cannot be read
  };

  // Any thread. A gap goes to the log of `task`.
  Read read_process(std::int32_t pid, bool listed, Task& task) const;
  Inode read_one(const Root& process, std::int32_t pid, std::string_view type, bool& gone, Read& into) const;
  void keep(Read read, bool late);
  Status read_fresh(std::vector<std::int32_t> fresh, bool late);
  Status chase();
  [[nodiscard]] std::int32_t newest_pid() const;

  const Root& proc_;
  Task& task_;
  const Namespaces* host_ = nullptr;
  std::vector<Entry> entries_;
  std::map<std::string, std::shared_ptr<const Cgroups>> cgroups_;  // by the text of /proc/PID/cgroup
  std::set<std::int32_t> seen_;
  bool settled_ = false;  // the last listing had nobody new
  std::uint64_t late_read_ = 0;
  std::uint64_t late_unread_ = 0;
  std::uint64_t denied_ = 0;
  std::optional<Error> first_denied_;
};

}  // namespace ctriage::proc
