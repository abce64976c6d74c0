// A change of a file as a thing to compare: the file as it is now, whatever each source calls the change.
#include <fmt/format.h>

#include <algorithm>

#include "lib/compare/project.h"
#include "lib/core/text.h"

namespace ctriage::compare {
namespace {

void add_state(const FileState& state, Item& item) {
  item.add("type", std::string(to_text(state.type)));
  item.add("mode", fmt::format("{:04o}", state.mode & 07777U));
  item.add("owner", fmt::format("{}:{}", state.uid, state.gid));
  if (state.type == FileType::regular) item.add("size", std::to_string(state.size_bytes));
  if (state.sha256) item.add("sha256", *state.sha256);
  if (state.link_target) item.add("target", state.link_target->raw, true);
  item.add("mtime", to_rfc3339(state.mtime));
  for (const XattrRecord& xattr : state.xattrs) {
    // Overlay's own are how a layer says what it means, not what the file is.
    const std::string_view name = xattr.name.view();
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) continue;
    item.add("xattr " + xattr.name.raw, xattr.left_out ? *xattr.left_out : xattr.value.raw, true);
  }
}

}  // namespace

Item item_of(const FileChange& change) {
  Item item;
  item.what = change.path.raw;
  item.key = change.path.raw;
  // By component: a directory comes before what is in it, and that before its neighbours.
  std::ranges::replace(item.key, '/', '\0');
  if (item.key.size() > kMaxKeyBytes) item.key.resize(kMaxKeyBytes);
  item.like_absent = change.kind == ChangeKind::unchanged || change.kind == ChangeKind::runtime_stub;
  const bool there = change.after && change.kind != ChangeKind::deleted;
  item.add("is", there ? "there" : "deleted");
  if (there) add_state(*change.after, item);
  if (change.before && !change.renamed_from) {
    Item image;
    image.add("is", "there");
    add_state(*change.before, image);
    // Other bytes of one size, the times put back, and what the image has was not hashed.
    if (there && change.kind == ChangeKind::content && !change.before->sha256) {
      item.add("content", "changed");
      image.add("content", "the image's");
    }
    item.otherwise = std::move(image.fields);
  } else if (change.kind == ChangeKind::added || change.kind == ChangeKind::renamed) {
    Item nothing;
    nothing.add("is", "not there");
    item.otherwise = std::move(nothing.fields);
  }
  return item;
}

Status Projector::list_files(const ListRequest& request, const Emit<Item>& emit, Task& task) {
  std::uint64_t unhashed = 0;
  auto listed = snapshot_.list_changes(
      request.container,
      [&](FileChange&& change) {
        const bool has_bytes = change.after && change.after->type == FileType::regular &&
                               change.after->size_bytes > 0 && !change.hard_link_of;
        if (has_bytes && !change.after->sha256 && change.kind != ChangeKind::deleted) ++unhashed;
        return emit(item_of(change));
      },
      task);
  if (unhashed > 0)
    task.gaps.add(
        {Impact::degraded,
         "compare.file",
         request.container,
         {Errc::unsupported, counted(unhashed, "file has", "files have") +
                                 " no digest here: other bytes of the same size and time are not seen"}});
  return listed;
}

}  // namespace ctriage::compare
