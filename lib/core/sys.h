#pragma once
// The only place of system calls and clocks, as plain functions, so that a test can link a twin whose nth
// call fails.
//
// Errors name what was tried and the object: "open etc/shadow: Permission denied", with errno(3) in
// Error::number. `name` is the object for messages, and for calls that take a path the path itself; one with
// a NUL inside is EINVAL. EINTR: calls that end soon are repeated here. read, write, poll, receive and send
// can wait for others, so they give it back as Errc::stopped with number EINTR; the caller looks at its stop
// flag and goes on or ends. The *_all and
// *_full helpers repeat: they are for regular files, where no signal has to end them.
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"
#include "lib/core/values.h"

struct sock_filter;
struct landlock_ruleset_attr;

namespace ctriage::sys {

using StatBuffer = struct ::statx;
using FsInfo = struct ::statfs;

// Files. Every descriptor is made with O_CLOEXEC.
Result<UniqueFd> openat2(int dir, std::string_view name, std::uint64_t flags, std::uint64_t resolve = 0,
                         std::uint32_t mode = 0);  // flags of open(2), resolve of openat2(2), Linux 5.6
// Opens what `fd` (O_PATH too) refers to once more, through /proc/self/fd: no name is looked up again.
Result<UniqueFd> reopen(int fd, std::uint64_t flags, std::string_view name);
Result<UniqueFd> duplicate(int fd, std::string_view name);
Status replace(int fd, int with);  // dup3(2): from now on `fd` is what `with` is
void close(int fd) noexcept;       // never fails to close: close(2), "Dealing with error returns"
void close_range(unsigned first, unsigned last) noexcept;
Result<StatBuffer> stat_at(int dir, std::string_view name);  // the last component not followed
Result<StatBuffer> stat_fd(int fd, std::string_view name);   // O_PATH too
Result<FsInfo> statfs(int fd, std::string_view name);
Result<std::string> readlinkat(int dir,
                               std::string_view name);  // any length; "" reads an O_PATH descriptor of a link
Result<std::size_t> getdents64(int fd, std::span<std::byte> into, std::string_view name);
Result<std::size_t> list_xattrs(int fd, std::span<char> into, std::string_view name);  // O_PATH too
Result<std::size_t> get_xattr(int fd, const std::string& attribute, std::span<char> into,
                              std::string_view name);
Result<unsigned> seals(int fd, std::string_view name);  // F_GET_SEALS: EINVAL when it can have none

Result<std::size_t> read(int fd, std::span<std::byte> into, std::string_view name);
Result<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset, std::string_view name);
// As much as there is up to the size of `into`: less only at the end of the file.
Result<std::size_t> pread_full(int fd, std::span<std::byte> into, std::uint64_t offset,
                               std::string_view name);
Result<std::size_t> write(int fd, std::span<const std::byte> bytes, std::string_view name);
Status write_all(int fd, std::span<const std::byte> bytes, std::string_view name);
Status write_all(int fd, std::string_view text, std::string_view name);
Status pwrite_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset, std::string_view name);
Result<std::uint64_t> lseek(int fd, std::int64_t offset, int whence,
                            std::string_view name);  // SEEK_DATA: ENXIO at end
Status fsync(int fd, std::string_view name);
Status fdatasync(int fd, std::string_view name);
Status fsync_directory(int dir, std::string_view name);  // O_PATH too
Status fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length, std::string_view name);
Status ftruncate(int fd, std::uint64_t length, std::string_view name);
Status renameat2(int from_dir, std::string_view from, int to_dir, std::string_view to, unsigned flags);
Status unlinkat(int dir, std::string_view name, int flags = 0);
Status mkdirat(int dir, std::string_view name, std::uint32_t mode);

// Mounts that nobody sees, Linux 5.2 and 5.12.
Result<UniqueFd> open_tree_clone(int dir, std::string_view name);
Status mount_setattr(int mount, std::uint64_t set, std::uint64_t clear, std::string_view name);
Result<UniqueFd> fsopen(const std::string& type);
Status fsconfig_create(int context, std::string_view name);
Result<UniqueFd> fsmount(int context, unsigned attributes, std::string_view name);

// Processes.
Result<UniqueFd> pidfd_open(int pid);
Status kill(int pid, int signal);  // for children that were not waited for: their pid cannot be another's
Status pidfd_send_signal(int pidfd, int signal);
Result<int> fork();
struct Waited {
  int pid = 0;     // 0: none has ended (WNOHANG)
  int status = 0;  // as in waitpid(2)
};
Result<Waited> waitpid(int pid, int flags);
[[noreturn]] void exit_now(int status) noexcept;  // _exit(2): no destructor, no flush
using Handler = void (*)(int);                    // SIG_IGN and SIG_DFL too
Status on_signal(int signal, Handler handler);    // without SA_RESTART
Status end_with_parent(int signal);               // PR_SET_PDEATHSIG
int parent_pid() noexcept;
int own_pid() noexcept;

// Channels between our own processes.
struct Pair {
  UniqueFd first;   // pipe: the end that is read
  UniqueFd second;  // pipe: the end that is written
};
Result<Pair> socketpair(int type);
Result<Pair> pipe2(int flags = 0);
// One message and, unless -1, one descriptor with it (SCM_RIGHTS). Never raises SIGPIPE: EPIPE.
Status send(int socket, std::span<const std::byte> bytes, int passed = -1);
struct Received {
  std::size_t size = 0;  // 0: the other end is gone
  UniqueFd passed;
};
Result<Received> receive(int socket, std::span<std::byte> into);
// How many are ready; 0 after `timeout_ns`. Negative: waits for good.
Result<int> poll(std::span<pollfd> watched, std::int64_t timeout_ns);

// Clocks; they cannot fail.
Timestamp realtime() noexcept;
std::int64_t boottime_ns() noexcept;
std::int64_t cpu_time_ns() noexcept;               // of all our threads and of children that were waited for
void sleep_ns(std::int64_t duration_ns) noexcept;  // shorter when a signal comes

// What we are and may.
Result<struct ::utsname> uname();
std::uint32_t geteuid() noexcept;
Result<std::uint64_t> effective_capabilities();  // bit n: capability n of capabilities(7)
struct RlimitValues {
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};
Result<RlimitValues> getrlimit(int resource);
Status setrlimit(int resource, RlimitValues values);
unsigned cpu_count() noexcept;  // that we may run on, at least 1
bool is_terminal(int fd) noexcept;
std::optional<unsigned> terminal_columns(int fd) noexcept;  // nothing when it is no terminal or does not know
std::optional<std::string> environment(const std::string& name);

// Giving up rights.
Status no_new_privileges();
Status install_filter(std::span<const ::sock_filter> program);  // seccomp(2), for all threads
Result<unsigned> landlock_abi();                                // ENOSYS, EOPNOTSUPP: not there
Result<UniqueFd> landlock_create(const ::landlock_ruleset_attr& attributes, std::size_t size);
Status landlock_allow(int ruleset, int below, std::uint64_t rights);
Status landlock_restrict(int ruleset);

}  // namespace ctriage::sys
