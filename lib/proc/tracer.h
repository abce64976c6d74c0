#pragma once
// The reader's side of a process's registers: what run_reader() answers to kRegisters.
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/proc/registers.h"

namespace ctriage::proc {

// Of each thread in the shared memory, at its number times this.
constexpr std::size_t kRoomOfThread = 32 << 10;  // AVX-512 and AMX: 11 KiB

class Tracer {
 public:
  Tracer(const Root& proc, std::span<std::byte> shared) : proc_(proc), shared_(shared) {}

  // PID, then tids, of 4 bytes each; answered by must_end() in a byte, how long they
  // stood in 8 bytes and, of each thread, 16 bytes:
  // errno(3) (0: what follows was read), and the sizes of the three sets, which stand in its room of the
  // shared memory one after the other.
  std::string read(std::string_view request);
  // A thread that does not stop is let go of only by our end.
  [[nodiscard]] bool must_end() const { return must_end_; }

 private:
  struct Traced {
    int tid = 0;
    int number = 0;  // errno(3) of what went wrong
    bool seized = false;
    bool stands = false;
    int signal = 0;  // that it was about to get
  };
  void seize(const std::string& process, Traced& thread);
  void wait(std::vector<Traced>& threads);
  std::string read_sets(Traced& thread, std::span<std::byte> room);

  const Root& proc_;
  std::span<std::byte> shared_;
  bool must_end_ = false;
};

}  // namespace ctriage::proc
