#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/overlay/overlay.h"

namespace {

using namespace ctriage;

void check(const overlay::Options& options) {
  if (options.lowers.empty() || options.lowers.size() + options.data_only.size() > kMaxLayers) std::abort();
  for (const auto& path : options.lowers) {
    if (path.empty() || path.find('\0') != std::string::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto options = overlay::parse_options(text)) check(*options);
  std::vector<std::string> arguments;
  for (const std::string_view argument : split(text, '\0')) arguments.emplace_back(argument);
  if (const auto mount = overlay::parse_fuse_arguments(arguments)) check(mount->options);
  if (const auto map = overlay::parse_id_map(text)) {
    for (const std::uint32_t id : {0U, 1'000U, UINT32_MAX}) (void)map->outside(id);
  }
  return 0;
}
