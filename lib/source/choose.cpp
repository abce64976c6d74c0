#include "lib/source/choose.h"

#include <algorithm>
#include <span>

#include "lib/core/root.h"
#include "lib/core/text.h"
#include "lib/source/open.h"

namespace ctriage::source {

Result<PidChoice> parse_pid_choice(std::string_view text) {
  const std::size_t at = text.find('@');
  const auto pid = parse_number<std::int32_t>(text.substr(0, at));
  PidChoice choice;
  if (pid && *pid > 0) choice.pid = *pid;
  if (at != std::string_view::npos) choice.container = text.substr(at + 1);
  if (choice.pid == 0 || (at != std::string_view::npos && choice.container.empty()))
    return Error{Errc::malformed, std::string(text) + ": neither a process id nor N@CONTAINER"};
  return choice;
}

bool is_file_source(const TargetQuery& query) {
  if (path_of_token(query.token)) return true;
  return !is_live_token(query.token) && query.labels.empty() &&
         (open_file(query.token) || Root::open(query.token));
}

Result<std::vector<ChosenProcess>> choose_process(Snapshot& snapshot, const PidChoice& choice,
                                                  const Task& task) {
  GapLog aside;
  Task looking = task.with(aside);
  std::vector<ChosenProcess> found;
  std::string names;
  bool named = choice.container.empty();
  const Emit<Container> each = [&](Container&& container) -> Status {
    if (container.sandbox) return Done{};
    names += (names.empty() ? "" : ", ") + container.name.raw;
    if (!choice.container.empty() && container.name.raw != choice.container) return Done{};
    named = true;
    return snapshot.list_processes(
        container.id,
        [&](Process&& process) -> Status {
          // Inside of its container it may have no pid: it came from outside.
          const std::int32_t pid = choice.container.empty() ? process.pid : process.container_pid;
          if (pid == choice.pid) {
            found.push_back({container.id, container.name.raw, process.pid, process.container_pid});
          }
          return Done{};
        },
        looking);
  };
  if (auto listed = snapshot.list_containers(each, looking); !listed) return std::move(listed).error();
  if (!named) return Error{Errc::not_found, choice.container + ": no such container, there is " + names};
  if (!found.empty()) return found;
  return Error{Errc::not_found, "no process here has pid " + std::to_string(choice.pid) +
                                    (choice.container.empty() ? "" : " inside " + choice.container)};
}

Result<ChosenProcess> choose_one(Snapshot& snapshot, const PidChoice& choice, const Task& task) {
  auto chosen = choose_process(snapshot, choice, task);
  if (!chosen) return std::move(chosen).error();
  if (chosen->size() == 1) return std::move(chosen->front());
  std::string names;
  constexpr std::size_t kFew = 20;
  for (const ChosenProcess& one : std::span(*chosen).first(std::min(kFew, chosen->size()))) {
    names += (names.empty() ? "" : ", ") + std::to_string(one.inner > 0 ? one.inner : one.pid) + "@" +
             one.name + " (pid " + std::to_string(one.pid) + ")";
  }
  if (chosen->size() > kFew) names += " and " + with_commas(chosen->size() - kFew) + " more";
  return Error{Errc::mismatch, "--pid " + std::to_string(choice.pid) +
                                   (choice.container.empty() ? "" : "@" + choice.container) +
                                   ": several processes: " + names};
}

}  // namespace ctriage::source
