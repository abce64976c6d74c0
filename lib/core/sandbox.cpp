#include "lib/core/sandbox.h"

#include <linux/landlock.h>

#include <cerrno>

#include "lib/core/root.h"
#include "lib/core/seccomp_filter.h"
#include "lib/core/sys.h"

namespace ctriage {

namespace {

constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;  // LANDLOCK_ACCESS_FS_TRUNCATE, ABI 3
constexpr std::uint64_t kIoctlDev = std::uint64_t{1} << 15;  // LANDLOCK_ACCESS_FS_IOCTL_DEV, ABI 5

constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kWriteFile = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
constexpr std::uint64_t kReadDir = LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWriteDir = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                    LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;

// All rights that a Landlock of this ABI can take away, landlock(7).
std::uint64_t rights_of(unsigned abi) {
  std::uint64_t rights = (std::uint64_t{LANDLOCK_ACCESS_FS_MAKE_SYM} << 1) - 1;
  if (abi >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) rights |= kTruncate;
  if (abi >= 5) rights |= kIoctlDev;
  return rights;
}

// A rule for a file may not hold the rights of a directory: EINVAL.
Status allow(int ruleset, int below, std::uint64_t rights) {
  const auto info = file_info(below, "what the sandbox may reach");
  if (!info) return info.error();
  if (!info->is_directory()) rights &= kReadFile | kWriteFile;
  return sys::landlock_allow(ruleset, below, rights);
}

constexpr std::string_view kGap = "sandbox";

Gap note(std::string what) {
  return {Impact::note, std::string(kGap), "this process", Error{Errc::unsupported, std::move(what)}};
}

void add_reason(std::string& why, const std::string& reason) {
  if (!why.empty()) why += "; ";
  why += reason;
}

// True when files are confined, false with the reason when this kernel cannot.
Result<bool> confine_files(const SandboxPlan& plan, std::string& why) {
  const auto abi = sys::landlock_abi();
  if (!abi) {
    const int number = abi.error().number;
    add_reason(why, number == ENOSYS       ? "files are not confined: this kernel has no Landlock"
                    : number == EOPNOTSUPP ? "files are not confined: Landlock is switched off on this kernel"
                                           : "files are not confined: " + abi.error().what);
    return false;
  }
  const std::uint64_t handled = rights_of(*abi);
  ::landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = handled;
  const auto ruleset = sys::landlock_create(attributes, sizeof attributes);
  if (!ruleset) return ruleset.error();
  for (const int fd : plan.readable) {
    if (auto done = allow(ruleset->get(), fd, (kReadFile | kReadDir) & handled); !done)
      return std::move(done).error();
  }
  for (const int fd : plan.writable) {
    const std::uint64_t rights = (kReadFile | kReadDir | kWriteFile | kWriteDir) & handled;
    if (auto done = allow(ruleset->get(), fd, rights); !done) return std::move(done).error();
  }
  if (auto done = sys::landlock_restrict(ruleset->get()); !done) return std::move(done).error();
  if (*abi < 3) add_reason(why, "Landlock of this kernel cannot forbid truncating files");
  return true;
}

}  // namespace

Result<SandboxLevel> enter_sandbox(const SandboxPlan& plan) {
  SandboxLevel level;
  // Both need it, so that a filter cannot be carried into a program with more rights, seccomp(2).
  if (auto done = sys::no_new_privileges(); !done) {
    level.why = "no sandbox: " + done.error().what;
    return level;
  }
  if (plan.confine_files) {
    auto confined = confine_files(plan, level.why);
    if (!confined) return Error{Errc::io, "sandbox: " + confined.error().what, confined.error().number};
    level.files = *confined;
  }
  if (auto done = sys::install_filter(sandbox_filter(plan.may_clone)); !done) {
    add_reason(level.why, "system calls are not filtered: " + done.error().what);
  } else {
    level.syscalls = true;
  }
  return level;
}

Status enter_sandbox(const SandboxPlan& plan, GapLog& gaps) {
  auto level = enter_sandbox(plan);
  if (!level) return std::move(level).error();
  if (!level->why.empty()) gaps.add(note(std::move(level->why)));
  return Done{};
}

void forbid_clones(GapLog& gaps) {
  if (auto done = sys::install_filter(clone_filter()); !done)
    gaps.add(note("clones of mounts are not forbidden: " + done.error().what));
}

}  // namespace ctriage
