// Open files of one process: /proc/PID/fd/N says what, /proc/PID/fdinfo/N where and how. The files are only
// pinned (O_PATH): opening a FIFO hangs and opening a device acts.
#include <sys/stat.h>

#include "lib/core/limits.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

// memfd_create(2): "/memfd:name (deleted)" on the kernel's own tmpfs, a device without a driver. A file of
// that name in the root directory of a mount looks the same once it is deleted; it is a deleted file of the
// attacker's either way.
bool is_memfd(std::string_view target, const FileInfo& info) {
  return info.is_regular() && info.nlink == 0 && info.dev_major == 0 && target.starts_with("/memfd:") &&
         target.ends_with(kDeleted);
}

std::string_view kind_of(std::string_view target, const FileInfo& info) {
  if (target.starts_with("anon_inode:")) return "anon";
  if (is_memfd(target, info)) return "memfd";
  switch (info.mode & S_IFMT) {
    case S_IFREG:
      return "regular";
    case S_IFDIR:
      return "directory";
    case S_IFCHR:
      return "character";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    default:
      return "other";
  }
}

// What is known of it although something was lost; nothing when the descriptor was closed meanwhile.
std::optional<Error> fill(const Root& process, Descriptor& into) {
  const std::string number = std::to_string(into.fd);
  auto target = process.read_link_beneath("fd/" + number);
  if (!target) return std::move(target).error();
  into.target = Bytes(*std::move(target));

  auto pinned = process.pin_magic("fd/" + number);
  auto info = pinned ? file_info(pinned->get(), "fd/" + number) : Result<FileInfo>(std::move(pinned).error());
  if (!info) return std::move(info).error();
  into.kind = kind_of(into.target.view(), *info);
  into.nlink = info->nlink;
  into.inode = Hex{info->inode};
  into.device = Hex{info->device()};
  if (info->is_regular()) {
    into.size_bytes = info->size_bytes;
    into.deleted = info->nlink == 0;
  }

  auto text = process.read_file_in_root("fdinfo/" + number, kMaxProcTextBytes);
  auto open_file = text ? parse_fdinfo(*text) : Result<FdInfo>(std::move(text).error());
  if (!open_file) return std::move(open_file).error();
  into.position_bytes = open_file->position_bytes;
  into.flags = Hex{open_file->flags};
  return std::nullopt;
}

}  // namespace

Status list_descriptors(const Root& process, std::int32_t pid, const Emit<Descriptor>& emit, Task& task) {
  auto directory = process.descend("fd");
  auto numbers = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!numbers) {
    if (is_gone(numbers.error())) {
      return Error{Errc::vanished, origin_of(pid) + ": no such process", numbers.error().number};
    }
    return name_capability(std::move(numbers).error());
  }
  for (const std::int32_t number : *numbers) {
    if (auto going = task.check(); !going) return going;
    Descriptor descriptor;
    descriptor.pid = pid;
    descriptor.fd = number;
    auto missing = fill(process, descriptor);
    if (missing) {
      if (missing->code == Errc::denied && has_gone(process)) {
        return Error{Errc::vanished, origin_of(pid) + ": ended while its descriptors were read"};
      }
      const bool gone = is_gone(*missing);
      const std::string origin = origin_of(pid) + "/fd/" + std::to_string(number);
      task.gaps.add(
          gap_of("descriptors", origin, *std::move(missing), gone ? Impact::degraded : Impact::lost));
      if (descriptor.target.empty()) continue;
      if (descriptor.kind.empty()) descriptor.kind = "other";
    }
    auto taken = emit(std::move(descriptor));
    if (!taken) return taken;
  }
  return Done{};
}

}  // namespace ctriage::proc
