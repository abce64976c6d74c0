// What a live node's files say and a checkpoint's JSON does: the first byte says which parser gets the rest.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/source/checkpoint/layout.h"
#include "lib/source/live/posture.h"
#include "lib/source/live/watched.h"
#include "lib/source/target.h"

using namespace ctriage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'i':
      if (const auto index = source::parse_oci_index(text)) {
        for (const auto& one : index->manifests) {
          if (!one.digest.starts_with("sha256:") || one.digest.find('/') != one.digest.npos) __builtin_trap();
        }
      }
      break;
    case 'd':
      (void)source::parse_config_dump(text).has_value();
      break;
    case 'D':
      (void)source::parse_docker_id(text).has_value();
      break;
    case 's':
      (void)source::parse_containerd_status(text).has_value();
      break;
    case 'l':
      (void)source::parse_string_list(text).has_value();
      break;
    case 't':
      (void)source::parse_token(text);
      break;
    case 'h':
      (void)source::parse_homes(text);
      break;
    case 'k':
      if (source::find_config_value(text, "staticPodPath").size() > text.size()) __builtin_trap();
      break;
    default:
      (void)source::parse_pid_token(text).has_value();
  }
  return 0;
}
