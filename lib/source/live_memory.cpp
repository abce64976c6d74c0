#include "lib/memory/visit.h"
#include "lib/source/checkpoint_source.h"
#include "lib/source/live.h"
#include "lib/source/memory.h"
#include "lib/source/refusal.h"

namespace ctriage::source {

Status visit_memory(Snapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  if (auto* live = dynamic_cast<LiveSnapshot*>(&snapshot))
    return visit_live_memory(*live, query, visitor, task);
  if (auto* checkpoint = dynamic_cast<CheckpointSnapshot*>(&snapshot))
    return checkpoint->visit_memory(query, visitor, task);
  const auto source = snapshot.describe(task);
  return Error{Errc::unsupported, (source ? source->kind : std::string("this source")) +
                                      ": has no memory that can be looked through"};
}

Status visit_live_memory(LiveSnapshot& snapshot, const MemoryQuery& query, MemoryVisitor& visitor,
                         Task& task) {
  Refusing watched(visitor);
  memory::SharedPages shared;
  memory::PlanOptions options;
  options.file_pages = query.all_file_pages ? memory::FilePages::all : memory::FilePages::changed;
  options.swap_in = query.swap_in;
  if (query.pid == 0) options.shared = &shared;
  std::uint64_t space = 0;
  bool any = false;
  for (const LiveContainer& container : snapshot.containers()) {
    for (const auto& [pid, process] : container.processes) {
      if (query.pid != 0 && query.pid != pid) continue;
      any = true;
      if (process.ended) continue;  // a zombie has no memory that could be searched
      MemoryArea like;
      like.space = ++space;
      like.container = container.container.id;
      auto visited = memory::visit_process(snapshot.node().proc, snapshot.node().readers, pid,
                                           process.start_ticks, options, like, watched, task);
      if (visited) continue;
      if (watched.refused()) return visited;
      if (auto go_on = task.check(); !go_on) return go_on;
      const Impact impact = visited.error().code == Errc::unsupported ? Impact::note : Impact::lost;
      task.gaps.add({impact, "memory.process", "pid " + std::to_string(pid), std::move(visited).error()});
      if (options.shared != nullptr) options.shared->forget(pid);
    }
  }
  if (any || query.pid == 0) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not of " + snapshot.name()};
}

}  // namespace ctriage::source
