#include "lib/source/live/libraries.h"

#include <fmt/format.h>

#include <vector>

#include "lib/core/text.h"
#include "lib/source/live/detail.h"
#include "lib/source/live/live.h"
#include "lib/source/live/programs.h"
#include "lib/source/live/reach.h"

namespace ctriage::source {
namespace {

// Looked up through map_files rather than by its path: a name may lead elsewhere by now, or nowhere.
std::string map_file(std::int32_t pid, std::uint64_t start, std::uint64_t end) {
  return fmt::format("{}/map_files/{:x}-{:x}", pid, start, end);
}

std::string origin_text(std::int32_t pid, const LibraryId& id) { return pid_text(pid) + " " + id.path; }

// The file that was mapped there when the table was read, O_PATH. The kernel's own lookup needs the target's
// mmap lock, so a reader does it, which can be killed.
Result<UniqueFd> pin_library(Node& node, const LiveContainer& live, std::int32_t pid, std::uint64_t start,
                             std::uint64_t end, const LibraryId& id, const Task& task) {
  auto pinned = node.readers.pin_magic(map_file(pid, start, end), task);
  if (!pinned) return needs(std::move(pinned).error(), "CAP_CHECKPOINT_RESTORE");
  auto info = file_info(pinned->get(), id.path);
  if (!info) return std::move(info).error();
  // maps has the numbers that the file system keeps. Those of stat(2) are others where an overlay has its
  // layers on several file systems (both), and on btrfs (the device).
  if (info->inode == id.inode) return pinned;
  const auto mount = info->device() == id.device ? std::nullopt : mount_id(node.proc, pinned->get());
  const auto known = mount ? find_mount(node, live, pid, *mount, task) : std::nullopt;
  if (known && known->mount.fstype.raw == "overlay" && known->mount.device.value == id.device) return pinned;
  return Error{Errc::changed, "another file is mapped there by now"};
}

Status classify(Node& node, LiveContainer& live, const LibraryId& id, Library& library, Task& task) {
  auto pinned = pin_library(node, live, library.pid, library.start, library.end, id, task);
  if (!pinned) return std::move(pinned).error();
  const auto info = file_info(pinned->get(), id.path);
  if (!info) return info.error();
  auto file = hold_file(node, live, *std::move(pinned), library.pid, task);
  if (!file) return std::move(file).error();
  library.size_bytes = info->size_bytes;

  Process process;  // as program_origin has it
  process.pid = library.pid;
  process.membership = live.processes[library.pid].membership;
  process.exe.deleted = info->nlink == 0;
  process.exe.path = Bytes(process.exe.deleted ? std::string(proc::without_deleted(id.path)) : id.path);
  process.exe.device = Hex{info->device()};
  process.exe.inode = Hex{info->inode};
  process.exe.size_bytes = info->size_bytes;
  if (!(*file)->crowded) library.file = *file;
  {
    // By its path first: what the image has under it, and the UpperDir has not, need not be read.
    GapLog unseen;
    Task quiet = task.with(unseen);
    library.origin = program_origin(node, live, process, (*file)->file.get(), quiet);
  }
  if (library.origin == Origin::image) return Done{};
  auto source = read_program(node, *file, id.path, task);
  auto hashed = source ? hash_source(**source) : Result<std::string>(std::move(source).error());
  const bool too_sparse = !hashed && hashed.error().code == Errc::limit;
  if (!hashed && (*file)->reach == Reach::hold && !too_sparse) return hashed.error();
  if (hashed) {
    process.exe.sha256 = *hashed;
    library.sha256 = *std::move(hashed);
  } else {
    task.gaps.add({Impact::lost, "proc.library", origin_text(library.pid, id), std::move(hashed).error()});
  }
  // Another descriptor by now: what was pinned only was opened to be read.
  library.origin = program_origin(node, live, process, (*file)->file.get(), task);
  if (library.origin == Origin::image) library.sha256.reset();
  return Done{};
}

}  // namespace

namespace {

// "/SYSV0000162e (deleted)", "/dev/zero (deleted)": shared memory, which the kernel names so. Other files
// whose names only begin so are files.
bool is_shared_memory(std::string_view path) {
  constexpr std::string_view kSysv = "/SYSV";
  constexpr std::size_t kKeyDigits = 8;
  if (!path.ends_with(proc::kDeleted)) return false;
  path.remove_suffix(proc::kDeleted.size());
  if (path == "/dev/zero") return true;
  return path.size() == kSysv.size() + kKeyDigits && path.starts_with(kSysv) &&
         path.find_first_not_of("0123456789abcdef", kSysv.size()) == std::string_view::npos;
}

}  // namespace

bool maps_code(const Mapping& mapping) {
  const std::string_view path = mapping.path.view();
  return mapping.protection.find('x') != std::string::npos && mapping.inode.value != 0 &&
         path.starts_with('/') && !is_shared_memory(path);
}

LibraryId library_id(const Mapping& mapping) {
  return {mapping.device.value, mapping.inode.value, mapping.path.raw};
}

bool is_foreign(Origin origin) { return origin != Origin::image && origin != Origin::unknown; }

bool is_own_program(const HeldProcess& held, const Root& process, const Mapping& mapping) {
  if (std::pair{mapping.device.value, mapping.inode.value} == held.runs) return true;
  const auto exe = process.read_link_beneath("exe");
  // By another device number, as maps gives it for some file systems; the name alone may be of a file that
  // covers the program.
  return mapping.inode.value == held.runs.second && exe && *exe == mapping.path.raw;
}

Status find_libraries(Node& node, LiveContainer& live, std::int32_t pid, Task& task) {
  if (live.alone) return Done{};  // a process of the host has the host's
  const HeldProcess& held = live.processes[pid];
  const auto process = proc::open_process(node.proc, pid, held.start_ticks);
  if (!process) return Done{};  // told with its mappings
  std::vector<LibraryId> found;
  const Emit<Mapping> note = [&](Mapping&& mapping) -> Status {
    if (!maps_code(mapping)) return Done{};
    LibraryId id = library_id(mapping);
    if (live.libraries.contains(id) || is_own_program(held, *process, mapping)) return Done{};
    if (live.libraries.size() >= kMaxLibraries ||
        live.library_path_bytes + id.path.size() > kMaxLibraryPathBytes) {
      if (!std::exchange(live.libraries_full, true)) {
        task.gaps.add({Impact::lost, "proc.library", pid_text(pid),
                       Error{Errc::limit,
                             "more files are mapped as code than are looked at: where the "
                             "others are from is not known, and they are not taken"}});
      }
      return Done{};
    }
    live.library_path_bytes += id.path.size();
    Library library;
    library.pid = pid;
    library.start = mapping.start.value;
    library.end = mapping.end.value;
    found.push_back(id);
    live.libraries.emplace(std::move(id), std::move(library));
    return Done{};
  };
  GapLog unseen;  // told when they are listed
  Task quiet = task.with(unseen);
  const auto listed = proc::list_mappings(*process, node.readers, pid, note, quiet);
  if (!listed) {
    if (auto go_on = task.check(); !go_on) return go_on;
  }
  for (const LibraryId& id : found) {
    if (auto go_on = task.check(); !go_on) return go_on;
    auto known = classify(node, live, id, live.libraries[id], task);
    if (known) continue;
    if (auto go_on = task.check(); !go_on) return go_on;
    const bool gone = proc::has_gone(*process);
    task.gaps.add({Impact::lost, "proc.library", origin_text(pid, id),
                   gone ? Error{Errc::vanished, "the process ended before its library could be looked at"}
                        : std::move(known).error()});
    if (gone) live.libraries.erase(id);  // another may have it
  }
  return Done{};
}

Result<std::unique_ptr<ByteSource>> read_library(Node& node, LiveContainer& live, const LibraryId& id,
                                                 Task& task) {
  const auto known = live.libraries.find(id);
  if (known == live.libraries.end()) return Error{Errc::not_found, id.path + ": not mapped by a member"};
  const Library& library = known->second;
  if (library.file) return read_program(node, library.file, id.path, task);
  auto pinned = pin_library(node, live, library.pid, library.start, library.end, id, task);
  if (!pinned) return std::move(pinned).error();
  auto file = hold_file(node, live, *std::move(pinned), library.pid, task);
  if (!file) return std::move(file).error();
  return read_program(node, *file, id.path, task);
}

}  // namespace ctriage::source
