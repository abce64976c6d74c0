#pragma once
// What a source gives of a container whose layers are directories of the node, running or not: its changes,
// and `ls`, `cat` and `cp` through the layers, never through the container.
#include <span>
#include <string>

#include "lib/core/root.h"
#include "lib/model/container.h"
#include "lib/model/snapshot.h"
#include "lib/overlay/overlay.h"

namespace ctriage::source {

struct Layered {
  const Container& container;
  const overlay::Stack* stack = nullptr;  // null: no_stack says why
  const std::string& no_stack;
  std::span<const Mount> mounts;  // what the container sees there is not in its layers
};

// Names the image's layers in `stack` by digest and history, as far as the engine under `node` still knows
// them; what it does not is a note.
void name_layers(const Root& node, const Container& container, overlay::Stack& stack, Task& task);

Status list_layers(const Layered& layered, const Emit<Layer>& emit);
// The UpperDir with its contents. Errc::unsupported where there are no layers.
Status walk_upper(const Layered& layered, const overlay::Held& held, overlay::Visitor& visitor, Task& task);
// The changes alone: contents are hashed and let go.
Status list_changes(const Layered& layered, const overlay::Held& held, const Emit<FileChange>& emit,
                    Task& task);
// As Snapshot has them.
Status list_files(const Layered& layered, const FileKey& key, const Emit<FileEntry>& emit, Task& task);
Result<OpenedFile> open_file(const Layered& layered, const FileKey& key, Task& task);

}  // namespace ctriage::source
