#include "lib/source/layered.h"

#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/overlay/view.h"
#include "lib/runtime/image_layers.h"

namespace ctriage::source {
namespace {

Result<overlay::View> view_of(const Layered& layered, const std::string& layer) {
  if (layered.stack == nullptr) return Error{Errc::unsupported, layered.no_stack};
  if (layer == "merged") return overlay::View::merged(*layered.stack);
  if (layer == "image") return overlay::View::image(*layered.stack);
  if (layer == "upper")
    return overlay::View::layer(*layered.stack, static_cast<std::uint32_t>(layered.stack->layers().size()));
  const auto number = parse_number<std::uint32_t>(layer);
  if (!number)
    return Error{Errc::malformed, "layer " + layer + ": neither merged, image, upper nor a number"};
  return overlay::View::layer(*layered.stack, *number);
}

FileEntry entry_of(const Layered& layered, const overlay::View::Found& found) {
  FileEntry entry;
  entry.container = layered.container.id;
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
void tell_mounts(const Layered& layered, const std::string& path, bool inside, Task& task) {
  for (const Mount& mount : layered.mounts) {
    const std::string& at = mount.mountpoint.raw;
    if (at == "/") continue;
    const bool over = is_at_or_below(path, at);
    if (!over && !(inside && parent_of(at) == path)) continue;
    task.gaps.add({over ? Impact::lost : Impact::note, "container.files", at, not_in_layers(mount)});
  }
}

// What is not in the layers may be in a mount: then that is the answer.
Error where_it_may_be(const Layered& layered, const FileKey& key, const std::string& reached, Error error) {
  if (error.code != Errc::not_found || key.layer != "merged") return error;
  for (const Mount& mount : layered.mounts) {
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
Result<Looked> look(const Layered& layered, const FileKey& key, bool listing, Task& task) {
  auto view = view_of(layered, key.layer);
  if (!view) return std::move(view).error();
  std::string reached;
  auto found = view->find(key.path, key.follow, reached, task);
  if (!found) return where_it_may_be(layered, key, reached, std::move(found).error());
  if (key.layer == "merged") tell_mounts(layered, found->path, listing && found->info.is_directory(), task);
  return Looked{*std::move(view), *std::move(found)};
}

struct HashOnly final : overlay::Visitor {  // the changes without their contents
  explicit HashOnly(const Emit<FileChange>& each) : emit(each) {}
  Status begin(const FileChange&, std::span<const archive::DataRun>) override { return Done{}; }
  Status data(std::uint64_t, std::span<const std::byte>, const std::shared_ptr<LateSha256>&) override {
    return Done{};
  }
  Status end() override { return Done{}; }
  Status change(FileChange&& change) override { return emit(std::move(change)); }
  const Emit<FileChange>& emit;
};

}  // namespace

void name_layers(const Root& node, const Container& container, overlay::Stack& stack, Task& task) {
  auto layers = runtime::find_image_layers(node, container);
  // Docker has a layer of its own between the image's and the UpperDir.
  const std::size_t lowers = stack.layers().size() - 1;
  const std::size_t of_engine = container.engine == "docker" ? 1 : 0;
  if (layers && layers->size() + of_engine != lowers) {
    layers = Error{Errc::mismatch, "the image's configuration has " + std::to_string(layers->size()) +
                                       " layers, the container is made of " + std::to_string(lowers)};
  }
  if (!layers) {
    // Fewer layers than the image has would make what they hold look added.
    const Impact impact = layers.error().code == Errc::mismatch ? Impact::degraded : Impact::note;
    task.gaps.add({impact, "container.layer_digests", container.id, std::move(layers).error()});
    return;
  }
  std::vector<overlay::Stack::Origin> origins;
  for (runtime::ImageLayer& layer : *layers)
    origins.push_back({std::move(layer.digest), std::move(layer.made_by)});
  stack.set_origins(origins);
}

Status list_layers(const Layered& layered, const Emit<Layer>& emit) {
  if (layered.stack == nullptr) return Done{};
  for (const Layer& layer : layered.stack->layers()) {
    if (auto status = emit(Layer(layer)); !status) return status;
  }
  return Done{};
}

Status walk_upper(const Layered& layered, const overlay::Held& held, overlay::Visitor& visitor, Task& task) {
  if (layered.stack == nullptr) return Error{Errc::unsupported, layered.no_stack};
  std::vector<Bytes> stubs;  // what the runtime made in the UpperDir to mount over
  for (const Mount& mount : layered.mounts) stubs.push_back(mount.mountpoint);
  for (const HostMount& mount : layered.container.mounts) stubs.push_back(mount.destination);
  return overlay::walk(*layered.stack, held, stubs, visitor, task);
}

Status list_changes(const Layered& layered, const overlay::Held& held, const Emit<FileChange>& emit,
                    Task& task) {
  if (layered.stack == nullptr) return Done{};
  HashOnly visitor(emit);
  return walk_upper(layered, held, visitor, task);
}

Status list_files(const Layered& layered, const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  auto looked = look(layered, key, true, task);
  if (!looked) return std::move(looked).error();
  if (!looked->is_directory()) return emit(entry_of(layered, looked->found));
  const std::string& directory = looked->found.path;
  return looked->view.list(
      directory,
      [&](const std::string&, overlay::View::Found&& entry) { return emit(entry_of(layered, entry)); },
      [&](const std::string& name, Error&& why) {
        task.gaps.add({Impact::lost, "container.files", child_of(directory, name), std::move(why)});
      },
      task);
}

Result<OpenedFile> open_file(const Layered& layered, const FileKey& key, Task& task) {
  auto looked = look(layered, key, false, task);
  if (!looked) return std::move(looked).error();
  OpenedFile opened{entry_of(layered, looked->found), nullptr};
  if (!looked->found.info.is_regular()) return opened;
  auto file = looked->view.open(looked->found);
  if (!file) return std::move(file).error();
  opened.bytes = std::make_unique<FdSource>(*std::move(file), looked->found.path, task);
  return opened;
}

}  // namespace ctriage::source
