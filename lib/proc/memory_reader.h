#pragma once
// The reader's side of a process's memory: what run_reader() answers to kMemory, kScan and kFetch.
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"
#include "lib/proc/pagemap.h"

namespace ctriage::proc {

class MemoryReader {
 public:
  MemoryReader(const Root& proc, std::span<std::byte> shared) : proc_(proc), shared_(shared) {}

  // Each takes a whole request and gives the whole answer.
  std::string open(std::string_view request);
  std::string scan(std::string_view request);
  std::string fetch(std::string_view request);
  void close() { opened_.reset(); }

 private:
  struct Opened {
    UniqueFd memory;
    Pagemap pagemap;
    std::string name;
  };
  int read_run(const PageRun& run, std::uint64_t address, std::span<std::byte> room,
               std::span<char> outcomes);

  const Root& proc_;
  std::span<std::byte> shared_;
  std::optional<Opened> opened_;
};

}  // namespace ctriage::proc
