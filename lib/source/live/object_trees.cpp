#include "lib/source/live/object_trees.h"

#include "lib/core/hash.h"

namespace ctriage::source {

ExtractedObject TreeObjects::object_of(const FileChange& change) const {
  ExtractedObject object;
  object.container = container_;
  object.kind = kind_;
  object.what = "file";
  const std::string& path = change.path.raw;
  object.path = Bytes(path == "/" && !below_.empty() ? below_ : below_ + path);
  const FileState& state = *change.after;
  object.type = state.type;
  object.mode = state.mode;
  object.uid = state.uid;
  object.gid = state.gid;
  object.mtime = state.mtime;
  object.link_target = state.link_target;
  if (change.hard_link_of) object.link_target = Bytes(below_ + change.hard_link_of->raw);
  object.size_bytes = state.size_bytes;
  return object;
}

Status TreeObjects::begin(const FileChange& change, std::span<const archive::DataRun>) {
  open_ = change.after && change.after->type == FileType::regular && !change.hard_link_of;
  return open_ ? to_.begin(object_of(change)) : Status(Done{});
}

Status TreeObjects::data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                         const std::shared_ptr<LateSha256>&) {
  return open_ ? to_.write(offset_bytes, bytes) : Status(Done{});
}

Status TreeObjects::change(FileChange&& change) {
  std::optional<Error> missing;
  if (change.partial) missing = Error{Errc::truncated, *change.partial};
  if (std::exchange(open_, false)) return to_.end(change.after ? change.after->size_bytes : 0, missing);
  if (!change.after || change.hidden_by) return Done{};  // gone, or of the image
  if (change.after->type != FileType::regular || change.hard_link_of) {
    ExtractedObject object = object_of(change);
    if (object.type != FileType::regular) object.size_bytes = 0;
    return to_.entry(std::move(object));
  }
  if (change.renamed_from) return Done{};  // the image's bytes under another name
  // A file whose bytes could not be had.
  if (auto begun = to_.begin(object_of(change)); !begun) return begun;
  if (!missing) missing = Error{Errc::vanished, "gone before it was read"};
  return to_.end(0, std::move(missing));
}

}  // namespace ctriage::source
