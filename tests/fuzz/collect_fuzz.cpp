#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/collect/memory_choice.h"

// /proc/PID/status: a name in it is the process's own choice.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parts = ctriage::collect::parse_resident(text);
  if (parts.anonymous_bytes % 1024 != 0 || parts.shared_bytes % 1024 != 0) __builtin_trap();
  return 0;
}
