#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/bundle/reader.h"
#include "lib/bundle/verify.h"

// verify over the bytes, then a Reader over the same: what verify calls whole, the Reader must read to its
// end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  GapLog gaps;
  const std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  MemorySource in(std::as_bytes(std::span(data, size)));
  const auto report = bundle::verify(in, std::nullopt, task);
  const bool whole = report && report->verdict == bundle::Verdict::whole;

  UniqueFd file(::memfd_create("bundle", MFD_CLOEXEC));
  if (!file || ::write(file.get(), data, size) != static_cast<ssize_t>(size)) return 0;
  auto reader = bundle::Reader::open_tar(std::move(file), "fuzz", task);
  if (!reader) {
    if (whole) std::abort();
    return 0;
  }
  std::array<std::byte, 65'536> piece{};
  for (const auto& name : (*reader)->streams()) {
    auto source = (*reader)->open(name, task);
    while (source) {
      auto got = (*source)->read(piece);
      if (!got && whole) std::abort();
      if (!got || *got == 0) break;
    }
  }
  return 0;
}
