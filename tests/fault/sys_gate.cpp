// Reaches the system on its own: it stands below sys.h. Global on purpose: it outlives main.
#include "sys_gate.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace ctriage::sys::gate {

namespace {

int likely_errno(Call kind) {
  switch (kind) {
    case Call::open:
    case Call::duplicate:
    case Call::channel:
      return EMFILE;
    case Call::write:
    case Call::space:
      return ENOSPC;
    case Call::process:
      return EAGAIN;
    case Call::mount:
    case Call::confine:
      return EPERM;
    case Call::poll:
      return ENOMEM;
    default:
      return EIO;
  }
}

std::uint64_t number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

class Plan {
 public:
  Plan()
      : nth_(number_from("CTRIAGE_FAULT_NTH")),
        errno_(static_cast<int>(number_from("CTRIAGE_FAULT_ERRNO"))),
        owner_(::getpid()) {
    // Shared with the processes we fork: the nth call is the nth of the whole program.
    void* page = ::mmap(nullptr, sizeof(Counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) std::abort();
    calls_ = new (page) Counter(0);
    // Opened now: at the end a sandbox may stand before it.
    if (const char* path = std::getenv("CTRIAGE_FAULT_COUNT_FILE")) {
      report_ = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
  }

  ~Plan() {
    if (report_ < 0 || ::getpid() != owner_) return;
    ::dprintf(report_, "calls %llu\ndescriptors %d\n", static_cast<unsigned long long>(calls_->load()),
              open_descriptors());
  }

  [[nodiscard]] int report() const { return report_; }

  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  int admit(Call kind) {
    const std::uint64_t call = calls_->fetch_add(1) + 1;
    if (call != nth_) return 0;
    return errno_ != 0 ? errno_ : likely_errno(kind);
  }

 private:
  using Counter = std::atomic<std::uint64_t>;
  std::uint64_t nth_;
  int errno_;
  pid_t owner_;
  int report_ = -1;
  Counter* calls_;
};

Plan& plan() {
  static Plan one;
  return one;
}

}  // namespace

int admit(Call kind) { return plan().admit(kind); }

int open_descriptors() {
  int count = 0;
  for (int fd = 3; fd < 4'096; ++fd) {  // not through /proc: at the end a sandbox may stand before it
    if (fd != plan().report() && ::fcntl(fd, F_GETFD) >= 0) ++count;
  }
  return count;
}

}  // namespace ctriage::sys::gate
