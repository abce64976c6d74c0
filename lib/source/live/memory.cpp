#include "lib/memory/visit.h"
#include "lib/source/live/live.h"
#include "lib/source/live/swap.h"
#include "lib/source/refusal.h"

namespace ctriage::source {

Status LiveSnapshot::visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) {
  Refusing watched(visitor);
  memory::SharedPages shared;
  memory::PlanOptions options;
  options.file_pages = query.all_file_pages ? memory::FilePages::all : memory::FilePages::changed;
  if (query.pid <= 0) options.shared = &shared;
  SwapRoom swap(*node_, query.swap_in);
  std::uint64_t space = 0;
  bool any = false;
  for (const LiveContainer& container : containers_) {
    for (const auto& [pid, process] : container.processes) {
      if (query.pid > 0 && query.pid != pid) continue;
      any = true;
      if (process.ended) continue;  // a zombie has no memory that could be searched
      options.swap_in = swap.admits(pid, task);
      MemoryArea like;
      like.space = ++space;
      like.container = container.container.id;
      auto visited = memory::visit_process(node_->proc, node_->readers, pid, process.start_ticks, options,
                                           like, watched, task);
      if (visited) continue;
      if (watched.refused()) return visited;
      if (auto go_on = task.check(); !go_on) return go_on;
      const Impact impact = visited.error().code == Errc::unsupported ? Impact::note : Impact::lost;
      task.gaps.add({impact, "memory.process", "pid " + std::to_string(pid), std::move(visited).error()});
    }
  }
  if (any || query.pid <= 0) return Done{};
  return Error{Errc::not_found, "pid " + std::to_string(query.pid) + ": not of " + name_};
}

}  // namespace ctriage::source
