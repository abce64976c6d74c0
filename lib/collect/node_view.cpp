#include "lib/collect/node_view.h"

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

}  // namespace ctriage::collect
