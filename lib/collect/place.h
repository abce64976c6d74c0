#pragma once
// Where a bundle may be written: never where it would change the evidence or get the pod evicted.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/root.h"
#include "lib/runtime/kubelet.h"
#include "lib/source/live/live.h"

namespace ctriage::collect {

struct Place {
  std::string path;
  std::string filesystem;  // "ext4"; "?" when mountinfo does not tell
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t allowed_bytes =
      0;                      // free less what kubelet's eviction thresholds + 5 % of the disk must keep
  bool kubelet_disk = false;  // the disk of kubelet's or the runtime's root
};

struct KeepOut {
  std::string engine_root;       // the runtime's root on the node, "" when unknown
  std::vector<FileInfo> layers;  // directories of the target's layers
  std::optional<runtime::Kubelet> kubelet;
};
// What cannot be known of kubelet's thresholds is a gap.
KeepOut keep_out_of(const source::LiveSnapshot& target, Task& task);

// Errc::outside with the reason for a container's layer or kubelet's pods directory; Errc::full where nothing
// may be written.
Result<Place> check_place(const Root& directory, const std::string& path, const Root& proc,
                          const KeepOut& keep_out);

// Directories that could take a bundle, most room first, for the user who named none.
std::vector<Place> suggest_places(const Root& proc, const KeepOut& keep_out);

}  // namespace ctriage::collect
