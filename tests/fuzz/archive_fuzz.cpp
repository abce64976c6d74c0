#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/archive/tar_header.h"

// What parses and is made again must parse to the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage::archive;
  const auto parsed = parse_tar_header(std::as_bytes(std::span(data, size)));
  if (!parsed || !*parsed) return 0;
  const auto made = make_tar_header((*parsed)->name, (*parsed)->size_bytes, (*parsed)->mtime_seconds);
  if (!made) return 0;
  const auto again = parse_tar_header(*made);
  if (!again || !*again || (*again)->size_bytes != (*parsed)->size_bytes || (*again)->name != (*parsed)->name)
    std::abort();
  return 0;
}
