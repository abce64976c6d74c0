#pragma once
// What manifest.json says of each stream, without the rest of it: one byte for each stream with members, and
// path and reason of those that are not plainly collected.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/manifest_json.h"
#include "lib/bundle/outcome.h"
#include "lib/bundle/stream_index.h"

namespace ctriage::bundle {

constexpr std::size_t kMaxStatusText = 64 << 20;  // bytes kept of paths and reasons; ours have a few thousand

class Statuses {
 public:
  // Errc::malformed, limit; the source's own errors pass through. `index` is done by now.
  static Result<Statuses> read(ByteSource& manifest, const StreamIndex& index,
                               std::size_t most_text = kMaxStatusText);
  // Nothing for what the manifest does not name.
  [[nodiscard]] std::optional<StreamStatus> find(std::string_view stream, const StreamIndex& index) const;

 private:
  class Sink;
  std::vector<bool> listed_;  // by StreamIndex::number_of
  std::map<std::string, StreamStatus, std::less<>> odd_;
};

}  // namespace ctriage::bundle
