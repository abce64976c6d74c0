#pragma once
#include "lib/model/file.h"

namespace ctriage {

// Of an archive without the image: there, and added or changed, nobody can say which.
inline bool is_untold(const FileChange& change) {
  return change.kind == ChangeKind::unknown && change.after.has_value();
}

// The container has bytes there that the image has not, as far as can be told.
inline bool has_new_bytes(const FileChange& change) {
  return change.kind == ChangeKind::added || change.kind == ChangeKind::content ||
         change.kind == ChangeKind::type || is_untold(change);
}

}  // namespace ctriage
