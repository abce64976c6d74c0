// `ls`, `cat` and `cp` of a live container: through its layers, never through the container.
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/overlay/view.h"
#include "lib/source/live.h"

namespace ctriage::source {
namespace {

Result<overlay::View> view_of(const LiveContainer& live, const std::string& layer) {
  if (!live.stack) return Error{Errc::unsupported, live.no_stack};
  if (layer == "merged") return overlay::View::merged(*live.stack);
  if (layer == "upper")
    return overlay::View::layer(*live.stack, static_cast<std::uint32_t>(live.stack->layers().size()));
  const auto number = parse_number<std::uint32_t>(layer);
  if (!number) return Error{Errc::malformed, "layer " + layer + ": neither merged nor upper nor a number"};
  return overlay::View::layer(*live.stack, *number);
}

FileEntry entry_of(const LiveContainer& live, const overlay::View::Found& found) {
  FileEntry entry;
  entry.container = live.container.id;
  entry.path = Bytes(found.path);
  entry.layer = found.layer;
  entry.file = found.file;
  return entry;
}

Error not_in_layers(const Mount& mount) {
  return Error{Errc::outside, "a mount (" + mount.fstype.raw +
                                  "): what the container sees there is not in its layers, which are what is "
                                  "shown; collect takes tmpfs"};
}

// What the container sees at a mount is not in its layers. `inside`: mounts right in this directory, too.
void tell_mounts(const LiveContainer& live, const std::string& path, bool inside, Task& task) {
  for (const Mount& mount : live.mounts) {
    const std::string& at = mount.mountpoint.raw;
    if (at == "/") continue;
    const bool over = is_at_or_below(path, at);
    if (!over && !(inside && parent_of(at) == path)) continue;
    task.gaps.add({over ? Impact::lost : Impact::note, "container.files", at, not_in_layers(mount)});
  }
}

// What is not in the layers may be in a mount: then that is the answer.
Error where_it_may_be(const LiveContainer& live, const FileKey& key, const std::string& reached,
                      Error error) {
  if (error.code != Errc::not_found || key.layer != "merged") return error;
  for (const Mount& mount : live.mounts) {
    if (mount.mountpoint.raw != "/" && is_at_or_below(reached, mount.mountpoint.raw))
      return not_in_layers(mount).within(key.path + ": at or below " + mount.mountpoint.raw);
  }
  return error;
}

// What the key names, in the view that it asks for.
struct Looked {
  overlay::View view;
  overlay::View::Found found;
  [[nodiscard]] bool is_directory() const { return found.info.is_directory(); }
};
Result<Looked> look(const LiveContainer* live, const FileKey& key, bool listing, Task& task) {
  if (live == nullptr) return Error{Errc::not_found, key.container + ": no such container"};
  auto view = view_of(*live, key.layer);
  if (!view) return std::move(view).error();
  std::string reached;
  auto found = view->find(key.path, key.follow, reached, task);
  if (!found) return where_it_may_be(*live, key, reached, std::move(found).error());
  if (key.layer == "merged") tell_mounts(*live, found->path, listing && found->info.is_directory(), task);
  return Looked{*std::move(view), *std::move(found)};
}

}  // namespace

Status LiveSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  const LiveContainer* live = find(key.container);
  auto looked = look(live, key, true, task);
  if (!looked) return std::move(looked).error();
  if (!looked->is_directory()) return emit(entry_of(*live, looked->found));
  const std::string& directory = looked->found.path;
  auto listed = looked->view.list(
      directory,
      [&](const std::string&, overlay::View::Found&& entry) { return emit(entry_of(*live, entry)); },
      [&](const std::string& name, Error&& why) {
        task.gaps.add({Impact::lost, "container.files", child_of(directory, name), std::move(why)});
      },
      task);
  tell_access_times(task);
  return listed;
}

Result<OpenedFile> LiveSnapshot::open_file(const FileKey& key, Task& task) {
  const LiveContainer* live = find(key.container);
  auto looked = look(live, key, false, task);
  if (!looked) return std::move(looked).error();
  OpenedFile opened{entry_of(*live, looked->found), nullptr};
  if (!looked->found.info.is_regular()) return opened;
  auto file = looked->view.open(looked->found);
  if (!file) return std::move(file).error();
  tell_access_times(task);
  opened.bytes = std::make_unique<FdSource>(*std::move(file), looked->found.path, task);
  return opened;
}

}  // namespace ctriage::source
