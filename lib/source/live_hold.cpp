#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "lib/core/sys.h"
#include "lib/source/live.h"
#include "lib/source/live_detail.h"
#include "lib/source/reach.h"

namespace ctriage::source {
namespace {

void hold_logs(const Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  const std::string& directory = container.container.log_dir.raw;
  if (directory.empty() || container.shim_pid == 0) return;
  auto root = node.proc.descend_magic(std::to_string(container.shim_pid) + "/root");
  auto logs = root ? root->descend_in_root(directory) : Result<Root>(root.error());
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
      const std::string path = directory + "/" + name;
      auto info = logs->stat_beneath(name);
      if (!info) {
        task.gaps.add({Impact::lost, "container.logs", path, std::move(info).error()});
        continue;
      }
      if (!info->is_regular()) {
        task.gaps.add(
            {Impact::note, "container.logs", path, {Errc::unsupported, "not a regular file, not followed"}});
        continue;
      }
      auto file = logs->open_beneath(name);
      if (!file) {
        task.gaps.add({Impact::lost, "container.logs", path, std::move(file).error()});
        continue;
      }
      HeldLog held;
      held.log.container = container.container.id;
      held.log.path = Bytes(path);
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

// Each file held is a descriptor: as many as we may have.
void raise_descriptor_limit() {
  const auto limit = sys::getrlimit(RLIMIT_NOFILE);
  if (limit && limit->soft < limit->hard) {
    (void)sys::setrlimit(RLIMIT_NOFILE, {limit->hard, limit->hard}).has_value();
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

void hold_processes(Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  raise_descriptor_limit();
  std::set<std::pair<std::uint64_t, std::uint64_t>> programs;
  for (auto& [pid, held] : container.processes) {
    if (held.program || held.ended) continue;
    const auto process = proc::open_living(node.proc, pid, held.start_ticks);
    if (!process) continue;  // told when it is read
    if (auto taken = hold_program(node, container, *process, pid, held, task); !taken) {
      task.gaps.add(
          {Impact::lost, "proc.exe", pid_text(pid), needs(std::move(taken).error(), "CAP_SYS_PTRACE")});
    }
    if (!held.program || held.reach != Reach::hold) continue;
    if (auto info = file_info(held.program.get(), "exe")) programs.emplace(info->device(), info->inode);
  }
  counts.programs += programs.size();
}

HoldCounts LiveSnapshot::hold(Task& task) {
  HoldCounts counts;
  const std::int64_t began_ns = sys::boottime_ns();
  for (LiveContainer& live : containers_) hold_processes(*node_, live, counts, task);
  for (LiveContainer& live : containers_) {
    hold_tmpfs(*node_, live, counts, task);
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
  counts.took_ns = sys::boottime_ns() - began_ns;
  return counts;
}

}  // namespace ctriage::source
