#pragma once
// What the parts of LiveSnapshot share: open.cpp (who is meant), layers.cpp (its root),
// hold.cpp, live.cpp (lists).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/source/live/live.h"

namespace ctriage::source {

inline std::string pid_text(std::int32_t pid) { return "pid " + std::to_string(pid); }
// Adds which capability a refusal asks for.
Error needs(Error error, std::string_view capability);
// "no descriptor was left to hold 3 programs", and what helps.
std::string no_room_for(const std::string& what);
// The overlay that the container's root is. `init_root`: the root directory of its first process. Fills in
// `root_device`; Errc::unsupported where it is none.
Result<overlay::Stack> open_stack(Node& node, LiveContainer& container, Result<Root> init_root,
                                  Survey& survey, Task& task);
// Raises our limit as far as it goes: how many descriptors may be held, the rest is for the work.
std::size_t raise_descriptors();
// Joins who is a member now with who was; a member that ended stays, so that its end is told when it is read.
// An error only when the task must end.
Status refresh_members(Node& node, LiveContainer& live, proc::Census& census, Task& task);
// The program of every member that has none yet.
void hold_processes(Node& node, LiveContainer& live, HoldCounts& counts, Task& task);
// A mount point is a directory or a file, and may have been mounted over: only the mount of this line counts.
struct PinnedMount {
  UniqueFd fd;
  bool directory = false;
};
Result<std::optional<PinnedMount>> pin_mount(const Root& procfs, const Root& root, const Mount& mount);
// The tmpfs that are the container's own; what else is mounted into it from tmpfs is a note.
void hold_tmpfs(Node& node, LiveContainer& container, HoldCounts& counts, Task& task);

}  // namespace ctriage::source
