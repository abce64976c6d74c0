#pragma once
// The memory of one process, read in the reader that can be killed. Only pages that are populated are read:
// reading another would make it, in the target and at its cost.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/task.h"
#include "lib/proc/pagemap.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {

// Windows that may be under way at a time, and room for each: the reader reads the next while the last is
// written.
constexpr std::size_t kSlots = 4;
constexpr std::size_t kSlotBytes = 512 << 10;  // 5.5 to 6.9 GB/s, measured from 64 KiB to 4 MiB

enum class Outcome : std::uint8_t {
  read,
  absent,      // not populated now: zeros in anonymous memory
  swapped,     // in swap, and that was not asked for
  guard,       // MADV_GUARD_INSTALL
  unreadable,  // the kernel refused: EIO for secret memory, poisoned pages, PROT_NONE without FOLL_FORCE
  vanished,    // the address space is gone: exit or exec
};

struct Window {
  std::uint64_t address = 0;
  std::span<const std::byte> bytes;  // zeros where a page was not read
  std::span<const Outcome> pages;    // one a page
  int number = 0;                    // errno(3) of what is unreadable
};

class Memory {
 public:
  // `process` is PID, or PID/task/TID where the main thread has ended, of /proc. While it is read `readers`
  // open nothing else.
  static Result<Memory> open(Readers& readers, std::string process, const Task& task);
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&&) = delete;
  ~Memory();  // lets go of the address space; `readers` can be used for other files again

  // As Pagemap::list_populated.
  Result<std::uint64_t> list_populated(std::uint64_t start, std::uint64_t end, std::vector<PageRun>& into);

  // Asks for the pages at `address`, as long as has_room(). Answers come in the order of asking.
  [[nodiscard]] bool has_room() const { return asked_.size() < kSlots; }
  Status ask(std::uint64_t address, std::size_t pages, bool swap);
  // The window asked for first; what it shows holds until the next call of ask(). After an error the reader
  // is gone, and with it what else was asked for: recover().
  Result<Window> take();
  // A fresh reader on the same process. Errc::vanished when that is gone.
  Status recover();

 private:
  Memory(Readers& readers, std::string process, const Task& task)
      : readers_(&readers), process_(std::move(process)), name_(process_ + "/mem"), task_(task) {}
  struct Asked {
    std::uint64_t address = 0;
    std::size_t pages = 0;
    std::size_t slot = 0;
  };
  void take_what_is_owed();
  Readers* readers_;  // none: moved from
  std::string process_;
  std::string name_;  // for messages
  const Task& task_;
  std::deque<Asked> asked_;
  std::size_t next_slot_ = 0;
  std::vector<Outcome> outcomes_;
};

}  // namespace ctriage::proc
