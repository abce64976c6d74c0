#include "lib/source/ended.h"

#include <algorithm>

#include "lib/core/limits.h"
#include "lib/runtime/layers.h"
#include "lib/source/disk.h"
#include "lib/source/live/logs.h"

namespace ctriage::source {

Result<overlay::Stack> open_recorded_layers(const Root& node, const Container& container, Task& task) {
  auto layers = runtime::find_layers(node, container, task);
  if (!layers) return std::move(layers).error();
  overlay::Options options;
  options.base = std::move(layers->base);
  options.upper = std::move(layers->upper);
  options.lowers = std::move(layers->lowers);
  // containers/storage notes whether fuse-overlayfs puts its layers together. Else the kernel does, and for a
  // user, who may not set trusted.* xattrs, with his own.
  if (container.engine == "podman" || container.engine == "cri-o") {
    const auto program = node.read_file_in_root(options.base + "/.has-mount-program", kMaxLineBytes);
    options.fuse = program && program->starts_with("true");
    if (!program && program.error().code != Errc::not_found) {
      task.gaps.add(
          {Impact::degraded, "container.layers", container.id,
           Error(program.error()).within("what fuse-overlayfs deleted or made opaque is not understood")});
    }
  }
  if (!options.fuse && container.engine_namespace.raw.starts_with("uid "))
    options.flags.emplace_back("userxattr");
  return overlay::Stack::open(options, node, container.id, task);
}

bool has_ended(const Container& container) {
  return container.state == ContainerState::exited || container.state == ContainerState::recovered ||
         container.init_pid == 0;
}

std::vector<Mount> mounts_asked_for(const Container& container) {
  std::vector<Mount> mounts;
  for (const HostMount& mount : container.mounts) {
    Mount& made = mounts.emplace_back();
    made.container = container.id;
    made.mountpoint = mount.destination;
    made.fstype = mount.type;
  }
  return mounts;
}

Result<std::unique_ptr<EndedSnapshot>> EndedSnapshot::open(EndedPlace place, const TargetQuery& query,
                                                           std::vector<runtime::Found> all, Task& task) {
  const auto resolved = resolve_target(query, all);
  if (!resolved) return resolved.error();
  std::unique_ptr<EndedSnapshot> snapshot(new EndedSnapshot(std::move(place), resolved->name));
  for (const std::size_t index : resolved->containers) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    Container& container = all[index].container;
    // A sandbox has nothing but its pause program.
    if (container.sandbox && resolved->containers.size() > 1) continue;
    if (!snapshot->place_.runs || has_ended(container)) snapshot->add(std::move(container), task);
  }
  if (snapshot->ended_.empty()) return Error{Errc::vanished, resolved->name + ": not running"};
  return snapshot;
}

void EndedSnapshot::add(Container container, Task& task) {
  Ended ended;
  auto stack = open_recorded_layers(place_.node, container, task);
  if (stack) {
    name_layers(place_.node, container, *stack, task);
    ended.stack = *std::move(stack);
  } else {
    ended.no_stack = stack.error().what;
    task.gaps.add({Impact::lost, "container.layers", container.id, std::move(stack).error()});
  }
  ended.mounts = mounts_asked_for(container);
  ended.container = std::move(container);
  ended_.push_back(std::move(ended));
}

const EndedSnapshot::Ended* EndedSnapshot::find(const std::string& container) const {
  for (const Ended& ended : ended_) {
    if (ended.container.id == container) return &ended;
  }
  return nullptr;
}

Layered EndedSnapshot::layered(const Ended& ended) {
  return {ended.container, ended.stack ? &*ended.stack : nullptr, ended.no_stack, ended.mounts};
}

Coverage EndedSnapshot::covers(Facet facet) const {
  using Level = Coverage::Level;
  std::size_t covered = 0;
  std::string why;
  for (const Ended& ended : ended_) {
    covered += ended.stack.has_value();
    if (!ended.stack && why.empty()) why = ended.container.name.raw + ": " + ended.no_stack;
  }
  switch (facet) {
    case Facet::containers:
      return {Level::whole, ""};
    case Facet::layers:
    case Facet::changes:
      if (covered == ended_.size()) return {Level::whole, ""};
      return {covered == 0 ? Level::none : Level::part, why};
    case Facet::findings:
      return {Level::none, "no rules"};
    case Facet::logs:
      covered = static_cast<std::size_t>(
          std::ranges::count_if(ended_, [](const Ended& one) { return !one.container.log_dir.empty(); }));
      if (covered == ended_.size()) return {Level::whole, ""};
      return {covered == 0 ? Level::none : Level::part, "where its logs lie is not recorded where we looked"};
    case Facet::gaps:
      return {Level::none, "an ended container records none"};
    default:
      return {Level::none, std::string(kNoProcesses)};
  }
}

Result<Source> EndedSnapshot::describe(Task& task) {
  Source source;
  source.kind = "disk";
  source.target = Bytes(name_);
  source.taken_at = task.now();
  source.node = place_.name;
  source.os = os_name(place_.node);
  return source;
}

Status EndedSnapshot::list_containers(const Emit<Container>& emit, Task&) {
  for (const Ended& ended : ended_) {
    if (auto status = emit(Container(ended.container)); !status) return status;
  }
  return Done{};
}

Status EndedSnapshot::list_layers(const std::string& container, const Emit<Layer>& emit, Task&) {
  const Ended* ended = find(container);
  return ended == nullptr ? Status(Done{}) : source::list_layers(layered(*ended), emit);
}

Status EndedSnapshot::list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) {
  const Ended* ended = find(container);
  if (ended == nullptr) return Done{};
  const auto read = [&](const Emit<FileChange>& each, Task& reading) {
    return source::list_changes(layered(*ended), overlay::Held(), each, reading);
  };
  return changes_.list(container, emit, task, read);
}

Status EndedSnapshot::list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) {
  const Ended* ended = find(container);
  if (ended == nullptr || ended->container.log_dir.empty()) return Done{};
  Status emitted = Done{};
  const TakeLog take = [&](LogFile&& log, const Root&, const std::string&) {
    if (emitted) emitted = emit(std::move(log));
  };
  each_log(place_.node, ended->container, take, task);
  return emitted;
}

Status EndedSnapshot::list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) {
  const Ended* ended = find(key.container);
  if (ended == nullptr) return Error{Errc::not_found, key.container + ": no such container"};
  return source::list_files(layered(*ended), key, emit, task);
}

Result<OpenedFile> EndedSnapshot::open_file(const FileKey& key, Task& task) {
  const Ended* ended = find(key.container);
  if (ended == nullptr) return Error{Errc::not_found, key.container + ": no such container"};
  return source::open_file(layered(*ended), key, task);
}

Status EndedSnapshot::visit_memory(const MemoryQuery&, MemoryVisitor&, Task&) {
  return Error{Errc::unsupported, name_ + ": has ended, its memory is gone"};
}

}  // namespace ctriage::source
