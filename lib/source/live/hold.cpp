#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/logs.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

void hold_logs(Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  const std::string& path = container.container.log_dir.raw;
  if (path.empty() || (container.shim_pid == 0 && !container.ended)) return;
  const auto lose = [&task](const Bytes& log, Error error) {
    task.gaps.add({Impact::lost, "container.logs", log.raw, std::move(error)});
  };
  auto root =
      container.ended ? node.root() : node.proc.descend_magic(std::to_string(container.shim_pid) + "/root");
  if (!root) return lose(Bytes(path), std::move(root).error());
  const TakeLog hold = [&](LogFile&& log, const Root& directory, const std::string& name) {
    if (node.descriptors_for_files == 0) return lose(log.path, {Errc::limit, no_room_for("a log")});
    --node.descriptors_for_files;
    auto file = directory.open_beneath(name);
    if (!file) return lose(log.path, std::move(file).error());
    container.logs.push_back({std::move(log), *std::move(file)});
    ++counts.logs;
  };
  each_log(*root, container.container, hold, task);
}

}  // namespace

std::string no_room_for(const std::string& what) {
  return "no descriptor was left to hold " + what + " (more with ulimit -n 65536)";
}

std::size_t raise_descriptors() {
  constexpr std::uint64_t kForWork = 512;
  auto limit = sys::getrlimit(RLIMIT_NOFILE);
  if (limit && limit->soft < limit->hard && sys::setrlimit(RLIMIT_NOFILE, {limit->hard, limit->hard}))
    limit->soft = limit->hard;
  if (!limit) return 0;
  if (limit->soft < 2 * kForWork) return static_cast<std::size_t>(limit->soft / 4);
  return static_cast<std::size_t>(std::min<std::uint64_t>(limit->soft - kForWork, 1 << 16));
}

void hold_processes(Node& node, LiveContainer& container, HoldCounts& counts, Task& task) {
  std::uint64_t crowded = 0;
  for (auto& [pid, held] : container.processes) {
    if (held.program || held.crowded || held.ended) continue;
    const auto process = proc::open_living(node.proc, pid, held.start_ticks);
    if (!process) continue;  // told when it is read
    auto taken = hold_program(node, container, *process, pid, task);
    if (!taken) {
      task.gaps.add(
          {Impact::lost, "proc.exe", pid_text(pid), needs(std::move(taken).error(), "CAP_SYS_PTRACE")});
      continue;
    }
    held.crowded = *taken && (*taken)->crowded;
    if (held.crowded) {
      ++crowded;
    } else {
      held.program = *std::move(taken);
    }
  }
  if (crowded > 0) {
    task.gaps.add({Impact::degraded, "container.hold", container.container.id,
                   Error{Errc::limit, no_room_for(counted(crowded, "program", "programs"))}});
  }
  counts.programs += static_cast<std::uint64_t>(std::ranges::count(
      container.programs, Reach::hold, [](const auto& entry) { return entry.second->reach; }));
}

HoldCounts LiveSnapshot::hold(Task& task) {
  HoldCounts& counts = held_counts_;
  const std::int64_t began_ns = sys::boottime_ns();
  std::vector<LiveContainer*> to_hold;
  for (LiveContainer& live : containers_) {
    if (!std::exchange(live.hold_tried, true)) to_hold.push_back(&live);
  }
  for (LiveContainer* live : to_hold) hold_processes(*node_, *live, counts, task);
  for (LiveContainer* live : to_hold) {
    if (!live->ended) hold_tmpfs(*node_, *live, counts, task);
    // The kubelet has one directory for all instances of a container.
    const bool taken = live->ended && std::ranges::any_of(containers_, [&](const LiveContainer& other) {
                         return &other < live && other.container.log_dir == live->container.log_dir;
                       });
    if (!taken) hold_logs(*node_, *live, counts, task);
  }
  for (LiveContainer* live : to_hold) {
    if (!live->stack) continue;
    overlay::Held::Budget budget;
    budget.descriptors = (node_->descriptors_for_files + node_->descriptors) / containers_.size();
    budget.memory_bytes /= containers_.size() * node_->share;
    auto held = overlay::Held::take(*live->stack, budget, task);
    if (!held) {
      task.gaps.add({Impact::degraded, "container.hold", live->container.id, std::move(held).error()});
      counts.complete = false;
      continue;
    }
    live->held = std::move(*held);
    counts.files += live->held.files();
    counts.complete = counts.complete && live->held.complete();
  }
  counts.took_ns += sys::boottime_ns() - began_ns;
  return counts;
}

}  // namespace ctriage::source
