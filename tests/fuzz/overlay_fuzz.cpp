#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/core/limits.h"
#include "lib/overlay/overlay.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto options = ctriage::overlay::parse_options({reinterpret_cast<const char*>(data), size});
  if (!options) return 0;
  if (options->lowers.empty() || options->lowers.size() + options->data_only.size() > ctriage::kMaxLayers)
    std::abort();
  for (const auto& path : options->lowers) {
    if (path.empty() || path.find('\0') != std::string::npos) std::abort();
  }
  return 0;
}
