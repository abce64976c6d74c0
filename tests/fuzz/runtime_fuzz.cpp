#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/core/limits.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/image_layers.h"
#include "lib/runtime/kubelet.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/records.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/storage.h"

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
  ctriage::Container ended;
  ended.id = "1eea461f1d1091914f7cd58f9d6960114167c3b359a35584e0079a663736fb2d";
  if (!ctriage::runtime::parse_docker_record(text, ended) && !ended.name.empty()) __builtin_trap();
  (void)ctriage::runtime::parse_cri_status(text, ended).has_value();
  (void)ctriage::runtime::parse_cri_metadata(text, ended).has_value();
  (void)ctriage::runtime::parse_crio_state(text, ended).has_value();
  (void)ctriage::runtime::parse_podman_config(text, ended).has_value();
  (void)ctriage::runtime::parse_podman_state(text, ended).has_value();
  (void)ctriage::runtime::parse_daemon_config(text).has_value();
  (void)ctriage::runtime::parse_go_time(text);
  if (const auto value = ctriage::runtime::value_of_any(text); value && value->size() > size)
    __builtin_trap();
  if (const auto records = ctriage::runtime::parse_storage_records(text)) {
    for (const auto& record : *records) {
      if (!ctriage::runtime::is_identifier(record.id)) __builtin_trap();
    }
  }
  if (const auto layers = ctriage::runtime::parse_image_config(text);
      layers && layers->size() > ctriage::kMaxLayers)
    __builtin_trap();
  (void)ctriage::runtime::parse_image_manifest(text, "x86_64").has_value();
  ctriage::runtime::Sighting sighting;
  ctriage::runtime::read_owner(text, sighting);
  return 0;
}
