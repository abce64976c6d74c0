#pragma once
// Which pages of an address space are there, without touching one of them: /proc/PID/pagemap.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"

namespace ctriage::proc {

struct PageFlags {
  bool swapped = false;  // else it is in memory
  bool file = false;     // a page of a file or of shared memory, not a private copy
  bool zero = false;     // the kernel's page of zeros; never set where PAGEMAP_SCAN is not there
  bool guard = false;    // MADV_GUARD_INSTALL: whoever touches it gets SIGSEGV. Linux 6.15 tells
  bool operator==(const PageFlags&) const = default;
};

struct PageRun {
  std::uint64_t start = 0;  // addresses
  std::uint64_t end = 0;    // one past the last
  PageFlags flags;
};

class Pagemap {
 public:
  // `file`: an open /proc/PID/pagemap, which stays with its address space. `name` is for messages.
  Pagemap(UniqueFd file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  // Appends the runs of populated pages in [start, end), ascending, at most `most` and of a limited stretch
  // of addresses. The address to go on from: `end` when all is done. By PAGEMAP_SCAN, or the table before
  // Linux 6.7.
  Result<std::uint64_t> list_populated(std::uint64_t start, std::uint64_t end, std::size_t most,
                                       std::vector<PageRun>& into);
  // The two ways.
  Result<std::uint64_t> scan(std::uint64_t start, std::uint64_t end, std::size_t most,
                             std::vector<PageRun>& into);
  Result<std::uint64_t> read_table(std::uint64_t start, std::uint64_t end, std::size_t most,
                                   std::vector<PageRun>& into);

 private:
  UniqueFd file_;
  std::string name_;
  bool has_scan_ = true;
  bool knows_guard_ = true;
};

}  // namespace ctriage::proc
