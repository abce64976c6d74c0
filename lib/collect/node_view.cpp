#include "lib/collect/node_view.h"

#include "lib/source/reach.h"

namespace ctriage::collect {

Result<std::span<const runtime::EngineProcess>> list_engines(Collection& in) {
  if (in.engines) return std::span<const runtime::EngineProcess>(*in.engines);
  GapLog told;  // who plays an engine was told when the containers were looked for
  Task again = in.task.with(told);
  auto found = runtime::find_engine_processes(in.snapshot.node().proc, again);
  if (!found) return std::move(found).error();
  std::erase_if(*found, [](const runtime::EngineProcess& process) {
    return process.role == runtime::Role::shim || process.role == runtime::Role::monitor;
  });
  in.engines = *std::move(found);
  return std::span<const runtime::EngineProcess>(*in.engines);
}

bool NodeMounts::asks_server(std::string_view path) const {
  return source::server_on_the_way(mounts, root_device, path) != nullptr;
}

Result<NodeMounts> node_mounts(Collection& in) {
  if (in.snapshot.node().disk) return NodeMounts();  // whoever mounted it sees no other
  auto mounts = proc::read_mounts(in.snapshot.node().proc, in.snapshot.node().host, in.task);
  if (!mounts) return std::move(mounts).error().within("the node's mount table");
  NodeMounts table;
  table.mounts = *std::move(mounts);
  for (const Mount& mount : table.mounts) {
    if (mount.mountpoint.raw == "/") table.root_device = mount.device;
  }
  return table;
}

Timestamp pod_began(const Collection& in) {
  std::optional<Timestamp> oldest;
  const auto take = [&oldest](const std::optional<Timestamp>& at) {
    if (at && at->seconds > 0 && (!oldest || *at < *oldest)) oldest = at;
  };
  for (const source::LiveContainer& live : in.snapshot.containers()) {
    take(live.container.created_at);
    take(live.container.started_at);
    if (!live.ended) take(proc::time_of_ticks(in.snapshot.node().clock, live.container.init_start_ticks));
  }
  return oldest.value_or(Timestamp{});
}

}  // namespace ctriage::collect
