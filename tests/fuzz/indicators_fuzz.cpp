#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/sweep/indicators.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = ctriage::sweep::Indicators::parse(text);
  if (!read) return 0;
  (void)read->find_address(text.substr(0, text.find('\n')));
  if (read->size() > ctriage::sweep::kMaxIndicators) __builtin_trap();
  return 0;
}
