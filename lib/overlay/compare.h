#pragma once
// What differs between two states of a name, and what that makes of it. Private to lib/overlay; table in
// SEMANTICS.md.
#include "lib/core/root.h"
#include "lib/model/file.h"

namespace ctriage::overlay {

FileType type_of(const FileInfo& info);
FileState make_state(const FileInfo& info, const std::vector<Xattr>& xattrs);

enum class SameBytes : std::uint8_t { same, differ, unknown };

// Fills kind and differs of a change that has both `before` and `after`. `prefix`: of overlay's own xattrs,
// which do not count.
void decide(FileChange& change, SameBytes bytes, bool opaque, std::string_view prefix);

}  // namespace ctriage::overlay
