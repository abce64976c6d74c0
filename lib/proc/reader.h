#pragma once
// Reads that may never return happen in a process that can be killed. cmdline, environ and maps take the
// target's mmap lock and can fault its pages (proc_pid_cmdline(5)): a FUSE or userfaultfd mapping of the
// attacker blocks them for good.
//
//   supervisor --seqpacket--> watchdog --fork--> reader 1, reader 2, ...
//
// The watchdog is forked before any thread, stays single-threaded, starts a fresh reader when one is stuck,
// and ends all of them when the supervisor is gone, however that ended. It also stops the target for the time
// of a freeze and, whatever happens to the supervisor, lets it go on.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/proc/freezer.h"

namespace ctriage::proc {

class Readers {
 public:
  // Forks the watchdog; call before any thread. `proc` is the procfs that readers read. "proc" is duplicated
  // into it.
  static Result<Readers> start(const Root& proc);
  Readers(Readers&&) noexcept;
  Readers& operator=(Readers&&) noexcept;
  ~Readers();  // ends the watchdog and the readers and waits for the watchdog

  // Opens proc/<name> ("48213/cmdline") in a reader. Each read waits at most kReadTimeoutNs, then the reader
  // is killed and the read is Errc::timeout. One open file at a time: opening another ends the one before.
  Result<std::unique_ptr<ByteSource>> open(std::string_view name, const Task& task);
  // The same for a file that is pinned (O_PATH), wherever it lies: a server that does not answer blocks who
  // opens it, too.
  Result<std::unique_ptr<ByteSource>> open_pinned(int pinned, std::string_view name, const Task& task);
  // What kind of file system it lies on: f_type of statfs(2), for which FUSE and NFS ask their server.
  Result<std::uint64_t> file_system(int pinned, std::string_view name, const Task& task);
  // What a magic link of /proc leads to ("48213/map_files/400000-401000"), O_PATH: looking that up takes the
  // target's mmap lock.
  Result<UniqueFd> pin_magic(std::string_view name, const Task& task);
  // The watchdog stops what `fd` switches, and lets it go on when most_ns have passed or this process has
  // ended, however that came. One target at a time.
  Status stop_target(int fd, SwitchKind kind, std::int64_t most_ns, const Task& task);
  // False: it had been let go on before, the time being over. After an error the caller throws the switch.
  Result<bool> let_go(const Task& task);
  // open and read_all. The one request that several threads may make, with nobody making another meanwhile.
  Result<std::string> read_file(std::string_view name, std::size_t most, const Task& task);

 private:
  // memory.h and registers.h: the same reader, other requests.
  friend class Memory;
  friend class RegisterReader;
  struct State;
  // One request, and the answer to the oldest one that was not received yet. After an error that is not the
  // reader's answer there is no reader any more.
  Status send_request(std::string_view request, std::string_view name, const Task& task);
  Result<std::string_view> receive_answer(char expected, std::string_view name, const Task& task);
  [[nodiscard]] std::span<const std::byte> shared() const;
  void drop_reader();
  Result<std::unique_ptr<ByteSource>> open(char request, int passed, std::string_view name, const Task& task);
  explicit Readers(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // shared with the source that is open, which may be dropped later
};

// A procfs of our own, fsopen(2) "proc" and fsmount(2): no hidepid, nothing mounted over /proc/PID, seen by
// nobody. Falls back to /proc with a note in `why` when the kernel or our rights do not allow it.
Result<Root> open_procfs(std::string& why);

}  // namespace ctriage::proc
