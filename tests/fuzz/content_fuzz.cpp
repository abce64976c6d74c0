// A file of any kind: by offset and in order the same is told of one that is smaller than what is kept.
#include <cstdlib>
#include <string_view>

#include "lib/elf/content.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const Content content = elf::parse_content(bytes, "x.ko.xz");
  MemorySource source(bytes);
  const auto in_order = elf::read_content(source, "x.ko.xz");
  if (!in_order || in_order->kind != content.kind || in_order->needed != content.needed ||
      in_order->build_id != content.build_id || in_order->packed != content.packed)
    std::abort();
  (void)elf::program_of_script(content);
  return 0;
}
