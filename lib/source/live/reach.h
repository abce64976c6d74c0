#pragma once
// Which running programs may be opened and read in this process. A file of FUSE, or of a server that is dead,
// blocks whoever opens it, and the server may be the intruder's. So a program is pinned (O_PATH), looked up
// in the mount tables, and opened only where no server has to be asked.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/source/live/live.h"

namespace ctriage::source {

// The mount with this id, and in whose table it is.
struct KnownMount {
  Mount mount;
  enum class Of : std::uint8_t { container, process, node } of = Of::container;
};
std::optional<KnownMount> find_mount(const Node& node, const LiveContainer& container, std::int32_t pid,
                                     std::uint32_t id, const Task& task);

// `of_container`: the file system is that of the container's root directory, or it is the node's own.
Reach reach_of(std::string_view fstype, bool of_container);
// On a disk of this machine, or in its memory: the kernel alone answers for it.
bool is_local(std::string_view fstype);
// proc, sysfs, cgroup, ...: no files of anybody.
bool is_of_the_kernel(std::string_view fstype);
// By f_type of statfs(2), for what lies in no mount table: files in memory, and in mounts that were detached.
Reach reach_of_magic(std::uint64_t type);

// Pins the program of `process` (/proc/PID) and opens it where that is allowed in the hold. A process without
// a program (kernel threads, zombies, ended) is no error: nullptr. Each file has one descriptor, which all
// that run it share; it stays open with the container where Node::descriptors has one to spare.
Result<std::shared_ptr<HeldProgram>> hold_program(Node& node, LiveContainer& container, const Root& process,
                                                  std::int32_t pid, const Task& task);
// The same for a file that is pinned already: what `pid` runs or has mapped.
Result<std::shared_ptr<HeldProgram>> hold_file(Node& node, LiveContainer& container, UniqueFd pin,
                                               std::int32_t pid, const Task& task);
// The bytes of a pinned program from their beginning. Errc::outside where they are not to be read.
Result<std::unique_ptr<ByteSource>> read_program(Node& node, const std::shared_ptr<HeldProgram>& program,
                                                 const std::string& name, const Task& task);

// Of the program that the process runs, not of one of its libraries. `process` is /proc/PID.
bool is_own_program(const HeldProcess& held, const Root& process, const Mapping& mapping);

// The mount on the way to this mount point whose server would be asked; nullptr: none. An overlay on
// `root_device` is the root itself.
const Mount* server_on_the_way(std::span<const Mount> mounts, Hex root_device, std::string_view mountpoint);
inline const Mount* server_on_the_way(const LiveContainer& container, std::string_view mountpoint) {
  return server_on_the_way(container.mounts, container.root_device, mountpoint);
}

}  // namespace ctriage::source
