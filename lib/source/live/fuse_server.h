#pragma once
// The process that serves a fuse-overlayfs mount. Its mount names no layers; what the process was told does.
#include <cstdint>

#include "lib/overlay/overlay.h"
#include "lib/source/live/live.h"

namespace ctriage::source {

constexpr std::string_view kFuseOverlay = "fuse.fuse-overlayfs";

struct FuseServer {
  std::int32_t pid = 0;
  overlay::Options options;  // paths of its mount namespace and root directory
};
// By its program's name, in no container, with a mount of the same device where its arguments say. They lie
// in its memory, which is the user's: read by a process that can be killed. Errc::not_found where none is.
Result<FuseServer> find_fuse_server(Node& node, const LiveContainer& container, const Mount& root,
                                    Survey& survey, Task& task);

}  // namespace ctriage::source
