#include "lib/source/inventory.h"

#include "lib/core/parallel.h"
#include "lib/source/live/programs.h"

namespace ctriage::source {
namespace {

std::optional<std::uint64_t> measure_upper(const LiveContainer& live, Task& task) {
  constexpr overlay::Held::Budget kNothingOpen{0, 32 << 20};
  const auto held = overlay::Held::take(*live.stack, kNothingOpen, task);
  if (!held) {
    task.gaps.add({Impact::lost, "container.upper", live.container.id, held.error()});
    return std::nullopt;
  }
  if (!held->complete()) {
    task.gaps.add(
        {Impact::degraded,
         "container.upper",
         live.container.id,
         {Errc::limit, "not all of its UpperDir could be listed: there is more than the size says"}});
  }
  return held->bytes();
}

void look_at_programs(Node& node, const LiveContainer& live, Listed& row, Task& task) {
  for (const auto& [pid, held] : live.processes) {
    row.executed_in = row.executed_in || held.membership == Membership::executed_in ||
                      held.membership == Membership::entered;
    Process process;
    process.pid = pid;
    process.membership = held.membership;
    auto there = proc::open_living(node.proc, pid, held.start_ticks);
    auto program = there ? proc::look_at_program(*there, process.exe) : Result<UniqueFd>(there.error());
    // A user's FUSE is closed to root: then the path is all that there is.
    if (!program && program.error().code == Errc::denied && !process.exe.path.empty())
      program = there->pin_magic("exe");
    if (!program) {
      if (program.error().code == Errc::denied)
        task.gaps.add({Impact::lost, "proc.exe", "pid " + std::to_string(pid), std::move(program).error()});
      continue;
    }
    row.runs.insert(program_origin(node, live, process, program->get(), task));
    if (process.exe.deleted) row.runs.insert(Origin::deleted);
  }
}

// `row` has the container.
void look_at(Node& node, runtime::Found found, const std::shared_ptr<const std::set<std::int32_t>>& inits,
             Survey& survey, const ListQuery& query, Listed& row, Task& task) {
  if (found.container.init_pid <= 0 || found.container.state == ContainerState::exited) return;
  auto live = open_container(node, std::move(found), inits, survey, task);
  if (!live) {
    const bool ended = live.error().code == Errc::vanished;  // it is listed, and was plain to see
    task.gaps.add(
        {ended ? Impact::degraded : Impact::lost, "container", row.container.id, std::move(live).error()});
    return;
  }
  row.running = true;
  row.processes = live->processes.size();
  row.ourselves = live->processes.contains(node.ourselves);
  if (query.size && live->stack) row.upper_bytes = measure_upper(*live, task);
  look_at_programs(node, *live, row, task);
}

}  // namespace

Result<std::vector<Listed>> list_disk(const Root& disk, const ListQuery& query, Task& task) {
  auto all = runtime::list_on_disk(disk, task);
  if (!all) return std::move(all).error();
  const auto selected = select_by_labels(query.labels, *all);
  if (!selected) return selected.error();
  std::vector<Listed> listed;
  for (std::size_t i = 0; i < all->size(); ++i) {
    if ((*selected)[i]) listed.emplace_back().container = std::move((*all)[i].container);
  }
  return listed;
}

Result<std::vector<Listed>> list_node(Node& node, const ListQuery& query, Task& task) {
  if (!node.whole)
    task.gaps.add({Impact::lost, "node.procfs", "/proc", {Errc::denied, std::string(kNodeNotSeen)}});
  auto all = runtime::list_containers(node.proc, task);
  if (!all) return std::move(all).error();
  const auto selected = select_by_labels(query.labels, *all);
  if (!selected) return selected.error();
  const auto inits = inits_of(*all);
  std::vector<runtime::Found> chosen;
  for (std::size_t i = 0; i < all->size(); ++i) {
    if ((*selected)[i]) chosen.push_back(std::move((*all)[i]));
  }
  std::vector<Survey> surveys;  // one for each worker
  surveys.emplace_back(node.proc, query.size ? overlay::Stack::Use::contents : overlay::Stack::Use::names);
  const std::size_t workers = worker_count(chosen.size());
  if (workers > 1) {
    if (auto read = surveys.front().census->read(task); !read) return std::move(read).error();
  }
  while (surveys.size() < workers) surveys.push_back(surveys.front().sibling());
  std::vector<Listed> listed(chosen.size());
  const auto looked = for_each_item(chosen.size(), task, [&](Share share, Task& own) -> Status {
    Listed& row = listed[share.index];
    row.container = chosen[share.index].container;
    look_at(node, std::move(chosen[share.index]), inits, surveys[share.worker], query, row, own);
    return Done{};
  });
  if (!looked) return looked.error();
  return listed;
}

}  // namespace ctriage::source
