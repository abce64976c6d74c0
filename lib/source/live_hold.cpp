#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "lib/core/sys.h"
#include "lib/source/live.h"
#include "lib/source/live_detail.h"

namespace ctriage::source {
namespace {

void hold_tmpfs(const Node& node, LiveContainer& container, HoldCounts& counts) {
  const std::string base = std::to_string(container.container.init_pid) + "/root";
  auto root = node.proc.descend_magic(base);
  if (!root) return;
  for (const Mount& mount : container.mounts) {
    if (mount.fstype.raw != "tmpfs") continue;
    // The mount table is the container's own: only what really is a tmpfs directory inside is held.
    if (auto dir = root->descend_in_root(mount.mountpoint.raw)) {
      if (auto held = sys::duplicate(dir->fd(), mount.mountpoint.raw)) {
        container.tmpfs.push_back(std::move(*held));
        ++counts.tmpfs;
      }
    }
  }
}

void hold_logs(const Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  const std::string& directory = container.container.log_dir.raw;
  if (directory.empty() || container.shim_pid == 0) return;
  auto root = node.proc.descend_magic(std::to_string(container.shim_pid) + "/root");
  if (!root) return;
  auto logs = root->descend_in_root(directory);
  if (!logs) {
    task.gaps.add({Impact::lost, "container.logs", directory, std::move(logs).error()});
    return;
  }
  std::string after;
  for (;;) {
    auto block = list_names(*logs, after);
    if (!block) {
      task.gaps.add({Impact::lost, "container.logs", directory, std::move(block).error()});
      return;
    }
    for (const std::string& name : block->names) {
      auto info = logs->stat_beneath(name);
      if (!info || !info->is_regular())
        continue;  // a link to where the engine keeps it comes with its runtime
      auto file = logs->open_beneath(name);
      if (!file) {
        task.gaps.add({Impact::lost, "container.logs", directory + "/" + name, std::move(file).error()});
        continue;
      }
      HeldLog held;
      held.log.container = container.container.id;
      held.log.path = Bytes(directory + "/" + name);
      held.log.size_bytes = info->size_bytes;
      held.log.mtime = info->mtime;
      held.file = std::move(*file);
      container.logs.push_back(std::move(held));
      ++counts.logs;
    }
    if (!block->more) return;
    after = block->names.back();
  }
}

// What may be held open: our limit less what the work itself needs.
std::size_t descriptors_to_spend() {
  constexpr std::uint64_t kForWork = 512;
  const auto limit = sys::getrlimit(RLIMIT_NOFILE);
  if (!limit || limit->soft < 2 * kForWork) return kForWork / 2;
  return static_cast<std::size_t>(std::min<std::uint64_t>(limit->soft - kForWork, 1 << 16));
}

}  // namespace

void hold_processes(const Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  std::set<std::pair<std::uint64_t, std::uint64_t>> programs;
  for (auto& [pid, held] : container.processes) {
    if (held.program) continue;
    if (auto pidfd = sys::pidfd_open(pid)) held.pidfd = std::move(*pidfd);
    auto program = node.proc.open_magic(std::to_string(pid) + "/exe");
    if (program) {
      held.program = std::move(*program);
      if (auto info = file_info(held.program.get(), "exe")) {
        programs.emplace(info->dev_major * std::uint64_t{1} << 32 | info->dev_minor, info->inode);
      }
    } else if (program.error().code == Errc::denied) {
      task.gaps.add(
          {Impact::lost, "process.exe", pid_text(pid), needs(std::move(program).error(), "CAP_SYS_PTRACE")});
    }  // kernel threads and zombies have no program; a process that is gone is told when it is read
  }
  counts.programs += programs.size();
}

HoldCounts LiveSnapshot::hold(Task& task) {
  HoldCounts counts;
  for (LiveContainer& live : containers_) hold_processes(*node_, live, counts, task);
  for (LiveContainer& live : containers_) {
    hold_tmpfs(*node_, live, counts);
    hold_logs(*node_, live, counts, task);
  }
  for (LiveContainer& live : containers_) {
    if (!live.stack) continue;
    overlay::Held::Budget budget;
    budget.descriptors = descriptors_to_spend() / containers_.size();
    budget.memory_bytes /= containers_.size();
    auto held = overlay::Held::take(*live.stack, budget, task);
    if (!held) {
      task.gaps.add({Impact::degraded, "container.hold", live.container.id, std::move(held).error()});
      counts.complete = false;
      continue;
    }
    live.held = std::move(*held);
    counts.files += live.held.files();
    counts.complete = counts.complete && live.held.complete();
  }
  return counts;
}

}  // namespace ctriage::source
