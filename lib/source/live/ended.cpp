// Containers of a target that have ended: their engine keeps the record, the layers, the logs. Processes,
// memory, sockets and tmpfs are gone, which is not the same as none.
#include "lib/source/ended.h"

#include <algorithm>
#include <set>

#include "lib/core/sandbox.h"
#include "lib/core/text.h"
#include "lib/source/layered.h"
#include "lib/source/live/live.h"

namespace ctriage::source {
namespace {

std::string end_text(const Container& container) {
  std::string text = container.state == ContainerState::recovered ? "was removed" : "has ended";
  if (container.exit_code) text += " with status " + std::to_string(*container.exit_code);
  if (container.finished_at) text += " at " + to_rfc3339(*container.finished_at);
  return text;
}

}  // namespace

Result<std::unique_ptr<LiveSnapshot>> LiveSnapshot::open_disk(std::unique_ptr<Node> node,
                                                              const TargetQuery& query, Task& task) {
  auto all = runtime::list_on_disk(*node->disk, task);
  if (!all) return std::move(all).error();
  const auto resolved = resolve_target(query, *all);
  if (!resolved) return resolved.error();
  std::unique_ptr<LiveSnapshot> snapshot(new LiveSnapshot(std::move(node), resolved->name));
  snapshot->ended_pending_ = true;
  for (const std::size_t index : resolved->containers) snapshot->ended_.push_back(std::move((*all)[index]));
  return snapshot;
}

bool LiveSnapshot::any_runs() const {
  return std::ranges::any_of(containers_, [](const LiveContainer& live) { return !live.ended; });
}

void LiveSnapshot::add_ended(Task& task) {
  if (!std::exchange(ended_pending_, false)) return;
  std::vector<runtime::Found> found = std::exchange(ended_, {});
  if (std::exchange(add_ended_, false) && any_runs()) {
    std::set<std::string> sandboxes;
    std::set<std::string> known;
    std::set<std::string> names;
    const auto see = [&](const Container& container) {
      known.insert(container.id);
      if (container.pod && !container.pod->sandbox_id.empty()) sandboxes.insert(container.pod->sandbox_id);
    };
    for (const LiveContainer& live : containers_) {
      see(live.container);
      names.insert(live.container.name.raw);
    }
    for (const runtime::Found& one : found) see(one.container);
    GapLog told;  // damaged records of other containers are no gap of this pod
    Task looking = task.with(told);
    auto all = sandboxes.empty() ? Result<std::vector<runtime::Found>>(std::vector<runtime::Found>())
                                 : runtime::list_containers(node_->proc, looking);
    if (!all) {
      task.gaps.add({Impact::lost, "container", name_,
                     Error(all.error()).within("whether containers of the pod have ended is not known")});
      all = std::vector<runtime::Found>();
    }
    for (runtime::Found& one : *all) {
      const Container& container = one.container;
      if (!has_ended(container) || container.state == ContainerState::created || known.contains(container.id))
        continue;
      if (!container.pod || !sandboxes.contains(container.pod->sandbox_id)) continue;
      // Of what was removed there are scraps; of an instance that another has replaced they say nothing more.
      if (container.state == ContainerState::recovered && names.contains(container.name.raw)) continue;
      found.push_back(std::move(one));
    }
  }
  const bool some = !containers_.empty() || found.size() > 1;
  for (runtime::Found& one : found) {
    if (!task.check()) {
      task.gaps.add({Impact::lost, "container", one.container.id, task.check().error()});
      continue;
    }
    // A sandbox has nothing but its pause program.
    if (!one.container.sandbox || !some) add_ended_one(std::move(one), task);
  }
  forbid_clones(task.gaps);  // all layers are open
}

void LiveSnapshot::add_ended_one(runtime::Found found, Task& task) {
  LiveContainer live;
  live.ended = true;
  live.container = std::move(found.container);
  live.raw_spec = std::move(found.raw_spec);
  live.mounts = mounts_asked_for(live.container);
  const std::string& id = live.container.id;
  const auto root = node_->root();
  auto stack =
      root ? open_recorded_layers(*root, live.container, task) : Result<overlay::Stack>(root.error());
  if (stack) {
    source::name_layers(*root, live.container, *stack, task);
    live.layers_named = true;
    live.stack = *std::move(stack);
  } else {
    live.no_stack = stack.error().what;
    task.gaps.add({Impact::lost, "container.layers", id, std::move(stack).error()});
  }
  const std::string what = node_->disk ? "is on a disk that nothing runs on" : end_text(live.container);
  task.gaps.add(
      {Impact::note, "container", id,
       Error{Errc::vanished, "container " + live.container.name.raw + " (" + id.substr(0, 12) + ") " + what +
                                 ": processes, memory, sockets and tmpfs are gone; taken is what "
                                 "its engine keeps, and its volumes where they still lie on the node"}});
  if (live.container.log_dir.empty()) {
    task.gaps.add({Impact::note, "container.logs", id,
                   Error{Errc::not_found, "where its logs lie is not recorded where we looked"}});
  }
  find_ended_volumes(*node_, live, task);
  containers_.push_back(std::move(live));
}

}  // namespace ctriage::source
