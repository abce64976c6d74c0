#pragma once
// A forked child of a test that gets ready, says so, and waits to be killed.
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
  // The number once it is there; 0 after five seconds.
  std::int32_t wait(std::size_t slot) {
    for (int tries = 0; tries < 5000 && slots_[slot] == 0; ++tries) ::usleep(1000);
    return slots_[slot];
  }

 private:
  static constexpr std::size_t kSlots = 64;
  std::atomic<std::int32_t>* slots_ = nullptr;
};

class Child {
 public:
  explicit Child(const std::function<void()>& run) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    run();
    for (;;) ::pause();
  }
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

// In a child: a process that waits until its parent is gone, like Child. Its pid as this process sees it.
inline std::int32_t spawn(const std::function<void()>& run) {
  const std::int32_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  run();
  for (;;) ::pause();
}

struct TaskFixture {
  GapLog gaps;
  std::atomic<bool> stop = false;
  Task task{gaps, stop, [] { return sys::realtime(); }};
};

}  // namespace ctriage::testing
