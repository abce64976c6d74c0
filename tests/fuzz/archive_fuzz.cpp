#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/archive/layer_reader.h"
#include "lib/archive/tar_header.h"

namespace {

// Whatever it is, it ends: an error, or no more entries.
void read_layer(std::span<const std::byte> data) {
  ctriage::MemorySource source(data);
  auto layer = ctriage::archive::LayerReader::open(source);
  if (!layer) return;
  ctriage::archive::LayerReader::Entry entry;
  std::array<std::byte, 4096> block{};
  for (auto more = (*layer)->next(entry); more && *more; more = (*layer)->next(entry)) {
    for (int blocks = 0; blocks < 64; ++blocks) {
      const auto got = (*layer)->read(block);
      if (!got || *got == 0) break;
    }
  }
}

}  // namespace

// What parses and is made again must parse to the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage::archive;
  read_layer(std::as_bytes(std::span(data, size)));
  const auto parsed = parse_tar_header(std::as_bytes(std::span(data, size)));
  if (!parsed || !*parsed) return 0;
  const auto made = make_tar_header((*parsed)->name, (*parsed)->size_bytes, (*parsed)->mtime_seconds);
  if (!made) return 0;
  const auto again = parse_tar_header(*made);
  if (!again || !*again || (*again)->size_bytes != (*parsed)->size_bytes || (*again)->name != (*parsed)->name)
    std::abort();
  return 0;
}
