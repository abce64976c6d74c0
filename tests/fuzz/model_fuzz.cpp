// The first byte chooses the artifact, the rest is one line of JSON. What is read must be written and read
// back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/model/json.h"
#include "lib/model/kinds.h"

namespace {

template <class T>
void round_trip(std::string_view json) {
  const auto item = ctriage::parse_artifact<T>(json);
  if (!item) return;
  const std::string written = ctriage::to_json(*item);
  const auto again = ctriage::parse_artifact<T>(written);
  if (!again || ctriage::to_json(*again) != written) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      round_trip<ctriage::Process>(json);
      break;
    case 1:
      round_trip<ctriage::FileChange>(json);
      break;
    case 2:
      round_trip<ctriage::Container>(json);
      break;
    case 3:
      round_trip<ctriage::Finding>(json);
      break;
    default:
      round_trip<ctriage::GapRecord>(json);
      break;
  }
  return 0;
}
