#pragma once
// The hashes of what runs, of what changed, and of what lies beside the layers.
#include "lib/model/indicator.h"
#include "lib/model/snapshot.h"

namespace ctriage::views {

struct HashOptions {
  bool md5 = false;   // what is asked for here is made of bytes that the source must still have,
  bool sha1 = false;  // and that have the SHA-256 that was recorded
};
// Programs and libraries once each. What has no hash, and what has none of those asked for, is a gap.
Status list_hashes(Snapshot& snapshot, const HashOptions& options, const Emit<FileHash>& emit, Task& task);

}  // namespace ctriage::views
