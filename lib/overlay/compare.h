#pragma once
// What differs between two states of a name, and what that makes of it. Private to lib/overlay; table in
// SEMANTICS.md.
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {

FileType type_of(const FileInfo& info);

enum class SameBytes : std::uint8_t { same, differ, unknown };

// Fills kind and differs of a change that has both `before` and `after`. `prefix`: of overlay's own xattrs,
// which do not count.
void decide(FileChange& change, SameBytes bytes, bool opaque, std::string_view prefix);

}  // namespace ctriage::overlay
