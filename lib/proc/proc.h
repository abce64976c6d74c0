#pragma once
// Readers of /proc, proc(5). parse_* work on bytes; read_* do I/O below a procfs Root. All text is hostile:
// names, arguments, paths and even mountinfo hold what an attacker chose.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/process.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {

struct Stat {  // proc_pid_stat(5); comm may hold ") R 1 (" and newlines: split at the LAST ')'
  std::int32_t pid = 0;
  Bytes comm;
  char state = '?';
  std::int32_t ppid = 0;
  std::int32_t pgrp = 0;
  std::int32_t session = 0;
  Hex tty;                      // 0: none
  std::uint32_t flags = 0;      // PF_* of the kernel's sched.h
  std::uint64_t cpu_ticks = 0;  // utime + stime
  std::uint32_t threads = 0;
  std::uint64_t start_ticks = 0;
  // Where arguments and variables lie; all 0 without the right to ptrace.
  std::uint64_t arg_start = 0;
  std::uint64_t arg_end = 0;
  std::uint64_t env_start = 0;
  std::uint64_t env_end = 0;

  [[nodiscard]] bool is_kernel_thread() const { return (flags & 0x00200000U) != 0; }  // PF_KTHREAD
  [[nodiscard]] bool main_thread_ended() const { return state == 'Z' || state == 'X' || state == 'x'; }
  // pthread_exit(3) in main() leaves a "zombie" whose other threads live on.
  [[nodiscard]] bool has_ended() const { return main_thread_ended() && threads <= 1; }
};
Result<Stat> parse_stat(std::string_view text);
// A terminal's number, proc_pid_stat(5) field 7: the minor in bits 31 to 20 and 7 to 0, the major in bits 15
// to 8.
Hex terminal(std::uint32_t number);
// Arguments, or variables, of one process that are kept: 4 MiB of NULs would otherwise become 128 MiB of
// empty strings.
constexpr std::size_t kMaxArguments = 131'072;
// What stands in /proc/PID/cmdline and environ: strings, each ended by a NUL. False: there are more than were
// kept.
bool split_strings(std::string_view text, std::vector<Bytes>& into);

// Fills what /proc/PID/status knows: credentials, capabilities, NSpid, seccomp, NoNewPrivs, TracerPid, VmRSS,
// VmSwap, masks of signals, ...
Status parse_status(std::string_view text, Process& into);
Result<Mapping> parse_maps_line(std::string_view line);
// One line of mountinfo with octal escapes undone, except super_options, which stay raw (overlay has a second
// level).
Result<Mount> parse_mountinfo_line(std::string_view line);
std::string unescape_octal(std::string_view text);
std::vector<Limit> parse_limits(std::string_view text);
struct FdInfo {
  std::uint64_t position_bytes = 0;
  std::uint64_t flags = 0;
  std::optional<std::uint64_t> inode;
  std::vector<Watch> watches;
  std::optional<BpfMap> bpf_map;
};
// Lines of newer kernels are passed over; Errc::limit: over kMaxWatches.
Result<FdInfo> parse_fdinfo(std::string_view text);
constexpr std::size_t kMaxWatches = 65'536;  // of one descriptor
// /proc/PID/timers, proc_pid_timers(5); an entry that is not one is left out.
std::vector<Timer> parse_timers(std::string_view text);
// One line of /proc/net/{tcp,tcp6,udp,udp6,raw,raw6,unix,packet,netlink}; nullopt for the heading.
Result<std::optional<Socket>> parse_net_line(std::string_view family, std::string_view line);

struct CgroupLine {
  std::uint32_t hierarchy = 0;  // 0: cgroup v2
  std::string controllers;      // "memory", "name=systemd", ""
  std::string path;
};
std::vector<CgroupLine> parse_cgroup(std::string_view text);
// The container id (64 hex) and the pod UID that a cgroup path names, matched from its end (research: every
// form).
struct CgroupOwner {
  std::string container_id;
  std::string pod_uid;
};
CgroupOwner parse_cgroup_owner(std::string_view path);
// Whether any line of a /proc/PID/cgroup names a container or a pod.
bool is_in_container(std::string_view cgroup_text);

// What the kernel puts behind the path of a file that has lost that name, d_path(); a name may also end so by
// itself.
constexpr std::string_view kDeleted = " (deleted)";
std::string_view without_deleted(std::string_view path);

// What this procfs says of the node.
struct Clock {
  std::uint64_t ticks_per_second = 100;
  Timestamp booted_at;  // btime of /proc/stat
};
Result<Clock> read_clock(const Root& proc);
Timestamp time_of_ticks(const Clock& clock, std::uint64_t ticks);
// A process in the node's own namespaces, with its root directory: pid 1; where we may not look into that
// one, kthreadd, a kernel thread and so in the first namespaces; else ourselves, which is the node unless we
// run in a container.
std::int32_t node_process(const Root& proc);
Result<std::vector<std::int32_t>> list_pids(const Root& proc);  // ascending

Result<Stat> read_stat(const Root& proc, std::int32_t pid);
Result<Stat> read_own_stat(const Root& process);  // of an open /proc/PID
// /proc/PID as a Root that stays this process, whoever gets its number next: what is read below it is of the
// process that started at `start_ticks`, or fails. Errc::vanished when that one is gone.
Result<Root> open_process(const Root& proc, std::int32_t pid, std::uint64_t start_ticks);
// Where the program, files, mounts and memory of a process can be looked at when its main thread has ended,
// of which only the name, numbers and credentials are left: a thread that lives. Below an open /proc/PID:
// empty for the process itself, else "task/TID"; as a Root; and below /proc: "PID" or "PID/task/TID".
std::string living_thread(const Root& process);
Result<Root> open_living(const Root& process);
Result<Root> open_living(const Root& proc, std::int32_t pid, std::uint64_t start_ticks);  // of open_process
std::string live_path(const Root& proc, std::int32_t pid);
std::string live_path(const Root& proc, const Stat& stat);
Result<std::string> read_text(const Root& proc, std::int32_t pid,
                              std::string_view name);  // not for mm-locked files
// "mnt:[4026531841]" of /proc/PID/ns/<type> as its inode; of a living thread where the main one has ended.
Result<Hex> read_namespace(const Root& proc, std::int32_t pid, std::string_view type);
Result<Hex> read_namespace(const Root& process, std::string_view type);  // of an open /proc/PID or thread
// In the kernel's order. A table too large for us is cut with a gap that counts the rest; the mount with the
// id `wanted` and the last one at "/" are then kept all the same, at the end.
Result<std::vector<Mount>> read_mounts(const Root& proc, std::int32_t pid, Task& task,
                                       std::optional<std::uint32_t> wanted = std::nullopt);
// `process`: an open /proc/PID of one that lives, or of a thread that does.
Result<std::vector<Mount>> read_own_mounts(const Root& process, std::int32_t pid, Task& task,
                                           std::optional<std::uint32_t> wanted = std::nullopt);

bool has_gone(const Root& process);  // ended since, or a zombie

// What /proc/PID/exe says of the running program, without opening it: path, identity, size, owner, times, and
// the file as an O_PATH descriptor. A path longer than a page is left empty. After an error the path is there
// if the link could be read.
Result<UniqueFd> look_at_program(const Root& process, Executable& into);

// All of a process but its exe origin and membership. What cannot be read is a gap for that facet, and the
// rest of the process is still given; Errc::vanished when it is gone or its start_ticks changed while we
// read.
Result<Process> read_process(const Root& proc, Readers& readers, std::int32_t pid, const Clock& clock,
                             Task& task);
// `process` is /proc/PID of open_process. Errc::vanished when it is gone: nothing of a process that has got
// its number since is emitted.
Status list_threads(const Root& process, std::int32_t pid, const Emit<Thread>& emit, Task& task);
Status list_mappings(const Root& process, Readers& readers, std::int32_t pid, const Emit<Mapping>& emit,
                     Task& task);
Status list_descriptors(const Root& process, std::int32_t pid, const Emit<Descriptor>& emit, Task& task);
// Sockets of the network namespace of the process or thread that `process` is, without owners.
Status list_sockets(const Root& process, std::int32_t pid, const Emit<Socket>& emit, Task& task);
// Threads in a namespace of this type that the process itself is not in, one for each: inode and tid.
std::map<std::uint64_t, std::int32_t> list_thread_namespaces(const Root& process, std::string_view type,
                                                             const Task& task);

// Which processes belong to a container whose first process is `init`: its cgroup's subtree plus the members
// of its PRIVATE mount and pid namespaces (one shared with pid 1 makes nobody a member).
struct Member {
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  Membership membership = Membership::child;
  bool ended = false;  // a zombie, of which nothing can be read but its name and numbers
};
// All processes of the node, read when they are first needed and then kept: one pass serves many containers.
class Census {
 public:
  explicit Census(const Root& proc);  // which outlives it
  Census(Census&&) noexcept;
  ~Census();
  // Reads them now: then several threads may ask at once.
  Status read(Task& task);

 private:
  friend Result<std::vector<Member>> find_members(Census& census, std::int32_t init, std::int32_t shim,
                                                  Task& task, const std::set<std::int32_t>* other_inits);
  struct State;
  std::unique_ptr<State> state_;
};
// `shim`: parent of what the runtime's exec starts, 0 when unknown. `other_inits`: first processes of the
// containers (or of the others), which may share the pid namespace; null when unknown: then a cgroup's name
// says who is another's. Ascending by pid. Who came and went meanwhile is a gap with their number.
Result<std::vector<Member>> find_members(Census& census, std::int32_t init, std::int32_t shim, Task& task,
                                         const std::set<std::int32_t>* other_inits = nullptr);
Result<std::vector<Member>> find_members(const Root& proc, std::int32_t init, std::int32_t shim, Task& task,
                                         const std::set<std::int32_t>* other_inits = nullptr);

}  // namespace ctriage::proc
