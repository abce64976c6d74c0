#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/runtime/kubelet.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ctriage::Container container;
  if (!ctriage::runtime::parse_spec(text, container) && !container.mounts.empty()) __builtin_trap();
  ctriage::runtime::BundlePath parts;
  if (ctriage::runtime::parse_bundle_path(text, parts) && parts.id.find('/') != parts.id.npos)
    __builtin_trap();
  ctriage::runtime::Eviction eviction;
  const bool flag = ctriage::runtime::parse_eviction_flag(text, eviction).has_value();
  const bool config = ctriage::runtime::parse_kubelet_config(text, eviction).has_value();
  if ((flag || config) && (eviction.nodefs.percent < 10 || eviction.imagefs.percent > 100)) __builtin_trap();
  return 0;
}
