// From the shims to all containers of the node. The walk: shims -> directories of bundles -> each bundle ->
// its init.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/core/text.h"
#include "lib/runtime/bundles.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"

namespace ctriage::runtime {
namespace {

Status list_bundles(const Root& proc, const BundleSet& set, const std::optional<proc::Clock>& clock,
                    std::vector<Found>& into, Task& task) {
  std::string after;
  for (bool more = true; more;) {
    const auto block = list_names(set.directory, after);
    if (!block) {
      task.gaps.add({Impact::lost, "runtime.bundle", set.path, Error(block.error()).within(set.path)});
      return Done{};
    }
    for (const std::string& id : block->names) {
      if (auto go_on = task.check(); !go_on) return go_on;
      const std::string path = set.path + "/" + id;
      if (id.starts_with('.')) {  // renamed before it is removed, core/runtime/v2/bundle.go
        task.gaps.add({Impact::note, "runtime.bundle", path, {Errc::vanished, path + ": is being deleted"}});
        continue;
      }
      if (!is_identifier(id)) {
        task.gaps.add(
            {Impact::lost, "runtime.bundle", path, {Errc::malformed, path + ": not a container id"}});
        continue;
      }
      auto found = read_bundle(set, id, task);
      if (!found) continue;
      read_init(proc, set, clock, *found, task);
      into.push_back(*std::move(found));
    }
    more = block->more && !block->names.empty();
    if (more) after = block->names.back();
  }
  return Done{};
}

// The kubelet names the log of a container's nth restart <n>.log, so the newest one is that of this instance.
std::uint32_t find_attempt(const Root& node, const std::string& log_dir) {
  const auto directory = node.descend_in_root(log_dir);
  const auto block = directory ? list_names(*directory, "") : Result<NameBlock>(directory.error());
  std::uint32_t attempt = 0;
  if (!block) return attempt;
  for (const std::string& name : block->names) {
    if (!name.ends_with(".log")) continue;
    const auto number = parse_number<std::uint32_t>(std::string_view(name).substr(0, name.size() - 4));
    if (number) attempt = std::max(attempt, *number);
  }
  return attempt;
}

// What only the pod's sandbox knows of its containers: where they log, and which shim serves them all.
void complete_pods(const BundleSet& set, std::vector<Found>& found, std::size_t begin) {
  for (std::size_t i = begin; i < found.size(); ++i) {
    Container& container = found[i].container;
    const std::string& serving = container.pod ? container.pod->sandbox_id : container.id;
    auto shim = set.shims.find(serving);
    if (shim == set.shims.end()) shim = set.shims.find(container.id);
    if (found[i].shim_pid == 0 && shim != set.shims.end()) found[i].shim_pid = shim->second;
    if (!container.pod || container.sandbox) continue;
    const auto sandbox = std::find_if(found.begin() + static_cast<std::ptrdiff_t>(begin), found.end(),
                                      [&](const Found& other) { return other.container.id == serving; });
    if (sandbox == found.end()) continue;
    if (container.pod->uid.empty() && sandbox->container.pod)
      container.pod->uid = sandbox->container.pod->uid;
    if (sandbox->container.log_dir.empty() || container.name.empty()) continue;
    if (container.name.raw.find('/') != std::string::npos) continue;  // a Kubernetes name has none
    container.log_dir = Bytes(sandbox->container.log_dir.raw + "/" + container.name.raw);
    container.attempt = find_attempt(set.node, container.log_dir.raw);
  }
}

auto order_of(const Found& found) {
  static const PodRef kNone;
  const Container& container = found.container;
  const PodRef& pod = container.pod ? *container.pod : kNone;
  return std::tie(pod.ns, pod.name, pod.sandbox_id);
}

bool comes_before(const Found& left, const Found& right) {
  if (order_of(left) != order_of(right)) return order_of(left) < order_of(right);
  if (left.container.sandbox != right.container.sandbox) return left.container.sandbox;
  const Container& a = left.container;
  const Container& b = right.container;
  return std::tie(a.name, a.id, a.bundle_dir) < std::tie(b.name, b.id, b.bundle_dir);
}

}  // namespace

Result<std::vector<Found>> list_containers(const Root& proc, Task& task) {
  const auto sets = find_bundle_sets(proc, task);
  if (!sets) return sets.error();
  std::vector<Found> found;
  if (sets->empty()) return found;
  std::optional<proc::Clock> clock;
  if (auto read = proc::read_clock(proc)) {
    clock = *read;
  } else {
    task.gaps.add({Impact::degraded, "runtime.clock", "stat", std::move(read).error()});
  }
  for (const BundleSet& set : *sets) {
    const std::size_t begin = found.size();
    if (auto listed = list_bundles(proc, set, clock, found, task); !listed) return std::move(listed).error();
    complete_pods(set, found, begin);
  }
  std::sort(found.begin(), found.end(), comes_before);
  return found;
}

}  // namespace ctriage::runtime
