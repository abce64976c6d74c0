#pragma once
// A forked child of a test that gets ready, says so, and waits to be killed.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <new>

#include "lib/core/sys.h"
#include "lib/core/task.h"

namespace ctriage::testing {

// Numbers that a child and its own children tell the test.
class Board {
 public:
  Board() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    slots_ = new (page) std::atomic<std::int32_t>[kSlots]();
  }
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;
  ~Board() { ::munmap(slots_, 4096); }

  std::atomic<std::int32_t>& operator[](std::size_t slot) { return slots_[slot]; }
  // The number once it is there; 0 after a minute, which is long on a busy machine, too.
  std::int32_t wait(std::size_t slot) {
    for (int tries = 0; tries < 60'000 && slots_[slot] == 0; ++tries) ::usleep(1000);
    return slots_[slot];
  }

 private:
  static constexpr std::size_t kSlots = 64;
  std::atomic<std::int32_t>* slots_ = nullptr;
};

// A process that runs `run`, waits, and ends with its parent. Its pid as the parent sees it. The parent waits
// until the child is tied to it: a parent that ends before takes the pipe along, and SIGPIPE the child.
inline std::int32_t spawn(const std::function<void()>& run) {
  int tied[2];
  if (::pipe2(tied, O_CLOEXEC) != 0) return -1;
  const std::int32_t pid = ::fork();
  if (pid != 0) {
    char byte = 0;
    ::close(tied[1]);
    if (::read(tied[0], &byte, 1) < 0) ::_exit(1);
    ::close(tied[0]);
    return pid;
  }
  ::close(tied[0]);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_DFL);
  if (::write(tied[1], "", 1) != 1) ::_exit(1);
  ::close(tied[1]);
  run();
  for (;;) ::pause();
}

class Child {
 public:
  explicit Child(const std::function<void()>& run) : pid_(spawn(run)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }

  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] std::int32_t pid() const { return pid_; }

 private:
  std::int32_t pid_ = 0;
};

struct TaskFixture {
  GapLog gaps;
  std::atomic<bool> stop = false;
  Task task{gaps, stop, [] { return sys::realtime(); }};
};

}  // namespace ctriage::testing
