#include "lib/core/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace ctriage {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
#error "the sandbox knows x86-64 and aarch64"
#endif

constexpr std::uint32_t kX32Bit = 0x4000'0000;  // x86-64 only: the same calls by other numbers

constexpr std::uint32_t kDenied[] = {
    // the network
    SYS_socket,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    // other programs and other processes
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_setns,
    SYS_unshare,
    SYS_move_pages,
    SYS_migrate_pages,
    438 /* pidfd_getfd */,
    440 /* process_madvise */,
    // mounts and roots
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_quotactl,
    443 /* quotactl_fd */,
    SYS_swapon,
    SYS_swapoff,
    // files past every check: by handle, by device
    SYS_open_by_handle_at,
    SYS_mknodat,
    SYS_fanotify_init,
    // the kernel's larger interfaces
    SYS_bpf,
    SYS_perf_event_open,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_reboot,
    SYS_acct,
    SYS_personality,
    SYS_syslog,
    SYS_sethostname,
    SYS_setdomainname,
    // the clocks
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
#if defined(__x86_64__)
    SYS_mknod,
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_ustat,
    SYS_sysfs,
#endif
};

// A clone of a mount that nobody can see, and its attributes.
constexpr std::uint32_t kDeniedClones[] = {SYS_open_tree, 442 /* mount_setattr */, 467 /* open_tree_attr */};

// fork(2) and threads are clone(2) without any of these. CLONE_NEWTIME is not seen by clone(2).
constexpr std::uint32_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kKill = SECCOMP_RET_KILL_PROCESS;
constexpr std::uint32_t refuse(std::uint32_t number) { return SECCOMP_RET_ERRNO | number; }

sock_filter statement(unsigned code, std::uint32_t value) {
  return {static_cast<std::uint16_t>(code), 0, 0, value};
}
sock_filter load(std::size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter answer(std::uint32_t with) { return statement(BPF_RET | BPF_K, with); }
// Skips the next `skip` statements unless the test holds.
sock_filter unless(unsigned test, std::uint32_t value, std::uint8_t skip) {
  return {static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), 0, skip, value};
}

// The low half of an argument: these are 32-bit flags and request numbers, whose high half the kernel
// ignores.
constexpr std::size_t low_half(std::size_t argument) {
  return offsetof(seccomp_data, args) + 8 * argument + (std::endian::native == std::endian::big ? 4 : 0);
}

void add(std::vector<sock_filter>& program, std::initializer_list<sock_filter> statements) {
  program.insert(program.end(), statements);
}

// Leaves the number of the call in the accumulator.
std::vector<sock_filter> begin() {
  std::vector<sock_filter> program{
      load(offsetof(seccomp_data, arch)),
      {static_cast<std::uint16_t>(BPF_JMP | BPF_JEQ | BPF_K), 1, 0, kArch},
      answer(kKill),  // int 0x80: the numbers below would mean other calls
      load(offsetof(seccomp_data, nr)),
  };
  if (kArch == AUDIT_ARCH_X86_64) add(program, {unless(BPF_JGE, kX32Bit, 1), answer(refuse(EPERM))});
  return program;
}

void deny(std::vector<sock_filter>& program, std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers)
    add(program, {unless(BPF_JEQ, number, 1), answer(refuse(EPERM))});
}

}  // namespace

std::vector<sock_filter> sandbox_filter(bool may_clone) {
  std::vector<sock_filter> program = begin();
  deny(program, kDenied);
  if (!may_clone) deny(program, kDeniedClones);
  // Its flags lie in memory, where a filter cannot look. glibc then takes clone(2), as on older kernels.
  add(program, {unless(BPF_JEQ, SYS_clone3, 1), answer(refuse(ENOSYS))});
  add(program, {unless(BPF_JEQ, SYS_clone, 4), load(low_half(0)), unless(BPF_JSET, kNewNamespaces, 1),
                answer(refuse(EPERM)), answer(kAllow)});
  // Typing into the terminal that we write to.
  add(program, {unless(BPF_JEQ, SYS_ioctl, 6), load(low_half(1)), unless(BPF_JEQ, TIOCSTI, 1),
                answer(refuse(EPERM)), unless(BPF_JEQ, TIOCLINUX, 1), answer(refuse(EPERM)), answer(kAllow)});
  add(program, {answer(kAllow)});
  return program;
}

std::vector<sock_filter> clone_filter() {
  std::vector<sock_filter> program = begin();
  deny(program, kDeniedClones);
  add(program, {answer(kAllow)});
  return program;
}

}  // namespace ctriage
