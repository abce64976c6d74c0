#include "lib/overlay/compare.h"

#include <algorithm>
#include <string_view>

#include "lib/model/file_mode.h"
#include "lib/overlay/marks.h"

namespace ctriage::overlay {
namespace {

// What a container sets as trusted.overlay.X is stored as trusted.overlay.overlay.X.
bool is_bookkeeping(const XattrRecord& xattr, std::string_view prefix) {
  return overlay::is_bookkeeping(xattr.name.view(), prefix);
}

// Both lists are in order of name.
bool same_xattrs(const std::vector<XattrRecord>& a, const std::vector<XattrRecord>& b,
                 std::string_view prefix) {
  auto in_b = b.begin();
  const auto skip = [&] {
    while (in_b != b.end() && is_bookkeeping(*in_b, prefix)) ++in_b;
  };
  for (const XattrRecord& xattr : a) {
    if (is_bookkeeping(xattr, prefix)) continue;
    skip();
    if (in_b == b.end() || in_b->name != xattr.name || in_b->value != xattr.value ||
        in_b->left_out != xattr.left_out)
      return false;
    ++in_b;
  }
  skip();
  return in_b == b.end();
}

}  // namespace

FileType type_of(const FileInfo& info) { return type_of_mode(info.mode); }

FileState make_state(const FileInfo& info, const std::vector<Xattr>& xattrs) {
  FileState state;
  state.type = type_of(info);
  state.mode = info.mode & 07777;
  state.uid = info.uid;
  state.gid = info.gid;
  state.nlink = info.nlink;
  state.size_bytes = info.size_bytes;
  state.allocated_bytes = info.allocated_bytes;
  state.inode = Hex{info.inode};
  state.rdev = Hex{info.rdev()};
  state.mtime = info.mtime;
  state.atime = info.atime;
  state.ctime = info.ctime;
  state.btime = info.btime;
  for (const Xattr& xattr : xattrs) {
    std::optional<std::string> left_out;
    if (!xattr.left_out.empty()) left_out = xattr.left_out;
    state.xattrs.push_back({Bytes(xattr.name), Bytes(xattr.value), std::move(left_out)});
  }
  return state;
}

void decide(FileChange& change, SameBytes bytes, bool opaque, std::string_view prefix) {
  const FileState& before = *change.before;
  const FileState& after = *change.after;
  const bool same_type = before.type == after.type;
  const bool device = after.type == FileType::character || after.type == FileType::block;
  const bool content = same_type && (after.type == FileType::regular ? bytes == SameBytes::differ
                                                                     : device && before.rdev != after.rdev);
  const bool target = same_type && before.link_target != after.link_target;
  const auto note = [&](bool differs, const char* what) {
    if (differs) change.differs.emplace_back(what);
    return differs;
  };
  change.differs.clear();
  note(content, "content");
  bool other = note(before.mode != after.mode, "mode");
  other = note(before.uid != after.uid || before.gid != after.gid, "owner") || other;
  // A directory's mtime moves whenever anything is copied up into it.
  other = (note(before.mtime != after.mtime, "mtime") && after.type != FileType::directory) || other;
  other = note(!same_xattrs(before.xattrs, after.xattrs, prefix), "xattrs") || other;
  note(target, "target");
  note(same_type && after.type == FileType::regular && before.size_bytes != after.size_bytes, "size");
  note(!same_type, "type");

  if (!same_type) {
    change.kind = ChangeKind::type;
  } else if (after.type == FileType::directory && opaque) {
    change.kind = ChangeKind::opaque;
  } else if (content || target) {
    change.kind = ChangeKind::content;
  } else if (after.type == FileType::regular && bytes == SameBytes::unknown) {
    change.kind = ChangeKind::unknown;
  } else {
    change.kind = other ? ChangeKind::metadata : ChangeKind::unchanged;
    if (change.renamed_from) change.kind = ChangeKind::renamed;
  }
}

}  // namespace ctriage::overlay
