#pragma once
// The acquisition record of a bundle: who took it, when, of what, with what, and what was done; for one page.
// What a bundle says of itself: verify says whether that is as it was written.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/bundle/reader.h"
#include "lib/core/hash.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

struct Acquisition {
  using Fields = std::vector<std::pair<std::string, std::string>>;  // "source.node" and its value as text
  Fields header;                // of bundle.json, in its order; lists joined by blanks
  std::vector<Fields> actions;  // of custody.jsonl, without the chain
  std::uint64_t actions_left_out = 0;
  std::uint64_t lost = 0;  // gaps by impact
  std::uint64_t degraded = 0;
  std::uint64_t notes = 0;
  std::vector<std::string> worst;  // the first lost ones: "upper: app: No space left on device"
  std::optional<Digest> manifest;
  std::optional<std::string> state_sha256;  // of the bundle's first bytes, up to the state
};

// Errors of the reader; a missing part is left out.
Result<Acquisition> read_acquisition(Reader& reader, Task& task);

// One JSON object as dotted names and texts. Errc::malformed, limit.
Result<Acquisition::Fields> flatten(std::string_view json);

}  // namespace ctriage::bundle
