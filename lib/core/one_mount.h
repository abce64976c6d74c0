#pragma once
// Walks of a tree that must not leave its mount: what is mounted below may be a FUSE whose server never
// answers, or a volume that is not ours to read. Asking such a place for its stat already waits for the
// server.
#include <string_view>

#include "lib/core/root.h"

namespace ctriage {

// As Root::pin_beneath, of one component, for what lies on the mount of `directory` itself. Errc::outside
// (EXDEV) where something is mounted on the name: nothing of it was asked.
Result<UniqueFd> pin_on_mount(const Root& directory, std::string_view name);

}  // namespace ctriage
