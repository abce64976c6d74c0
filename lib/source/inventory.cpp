#include "lib/source/inventory.h"

#include "lib/source/programs.h"

namespace ctriage::source {
namespace {

// The identity of a running program without reading it.
Result<UniqueFd> look_at_program(const Root& proc, std::int32_t pid, Executable& exe) {
  constexpr std::string_view kDeleted = " (deleted)";
  const std::string link = proc::live_path(proc, pid) + "/exe";
  auto program = proc.pin_magic(link);
  if (!program) return std::move(program).error();
  auto info = file_info(program->get(), link);
  if (!info) return std::move(info).error();
  auto path = proc.read_link_beneath(link);
  if (!path) return std::move(path).error();
  exe.deleted = info->nlink == 0;
  if (exe.deleted && path->ends_with(kDeleted)) path->resize(path->size() - kDeleted.size());
  exe.path = Bytes(*std::move(path));
  exe.device = Hex{info->device()};
  exe.inode = Hex{info->inode};
  exe.size_bytes = info->size_bytes;
  return program;
}

}  // namespace

Result<std::vector<Listed>> list_node(Node& node, Task& task) {
  auto all = runtime::list_containers(node.proc, task);
  if (!all) return std::move(all).error();
  const std::set<std::int32_t> inits = inits_of(*all);
  std::vector<Listed> listed;
  for (runtime::Found& found : *all) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    Listed row;
    row.container = found.container;
    if (found.container.init_pid > 0 && found.container.state != ContainerState::exited) {
      auto live = open_container(node, std::move(found), inits, task);
      if (live) {
        row.running = true;
        row.processes = live->processes.size();
        for (const auto& [pid, held] : live->processes) {
          row.executed_in = row.executed_in || held.membership == Membership::executed_in ||
                            held.membership == Membership::entered;
          Process process;
          process.pid = pid;
          process.membership = held.membership;
          auto program = look_at_program(node.proc, pid, process.exe);
          if (!program) {
            if (program.error().code == Errc::denied) {
              task.gaps.add(
                  {Impact::lost, "proc.exe", "pid " + std::to_string(pid), std::move(program).error()});
            }
            continue;
          }
          row.runs.insert(program_origin(node, *live, process, program->get(), task));
          if (process.exe.deleted) row.runs.insert(Origin::deleted);
        }
      } else {
        task.gaps.add({Impact::lost, "container", row.container.id, std::move(live).error()});
      }
    }
    listed.push_back(std::move(row));
  }
  return listed;
}

}  // namespace ctriage::source
