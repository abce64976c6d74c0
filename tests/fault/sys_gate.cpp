// Reaches the system on its own: it stands below sys.h. Global on purpose: it outlives main.
#include "sys_gate.h"

#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

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
  }

  ~Plan() {
    const char* path = std::getenv("CTRIAGE_FAULT_COUNT_FILE");
    if (path == nullptr || ::getpid() != owner_) return;
    const int left = open_descriptors();
    std::FILE* file = std::fopen(path, "we");
    if (file == nullptr) return;
    std::fprintf(file, "calls %llu\ndescriptors %d\n", static_cast<unsigned long long>(calls_->load()), left);
    std::fclose(file);
  }

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
  Counter* calls_;
};

Plan& plan() {
  static Plan one;
  return one;
}

}  // namespace

int admit(Call kind) { return plan().admit(kind); }

int open_descriptors() {
  DIR* list = ::opendir("/proc/self/fd");
  if (list == nullptr) return -1;
  int count = 0;
  while (const dirent* entry = ::readdir(list)) {
    const int fd = std::atoi(entry->d_name);
    if (fd > 2 && fd != ::dirfd(list)) ++count;
  }
  ::closedir(list);
  return count;
}

}  // namespace ctriage::sys::gate
