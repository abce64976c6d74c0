#include "lib/source/remembered.h"

#include "lib/source/live/live.h"

namespace ctriage::source {

Again::Again(Task& task)
    : log_([this, &task](const Gap& gap) {
        if (!told_.contains({gap.impact, gap.artifact, gap.origin, gap.error.code})) task.gaps.add(gap);
      }),
      task_(task.with(log_)) {
  for (const Gap& gap : task.gaps.kept()) {
    told_.emplace(gap.impact, gap.artifact, gap.origin, gap.error.code);
  }
}

Status LiveSnapshot::list_processes(const std::string& container, const Emit<Process>& emit, Task& task) {
  if (!is_viewed()) return read_processes(container, emit, task);
  return processes_.list(container, emit, task, [&](const Emit<Process>& each, Task& reading) {
    return read_processes(container, each, reading);
  });
}

Status LiveSnapshot::list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) {
  if (!is_viewed()) return read_changes(container, emit, task);
  return changes_.list(container, emit, task, [&](const Emit<FileChange>& each, Task& reading) {
    return read_changes(container, each, reading);
  });
}

}  // namespace ctriage::source
