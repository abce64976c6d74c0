// Open files of one process: /proc/PID/fd/N says what, /proc/PID/fdinfo/N where and how. The files are only
// pinned (O_PATH): opening a FIFO hangs and opening a device acts.
#include <sys/stat.h>

#include <cerrno>

#include "lib/core/limits.h"
#include "lib/proc/detail.h"
#include "lib/proc/numbered.h"
#include "lib/proc/proc.h"
#include "lib/proc/thread_tables.h"

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
  const bool too_long =
      !target && target.error().number == ENAMETOOLONG;  // than a page: it is there all the same
  if (!target && !too_long) return std::move(target).error();
  if (target) into.target = Bytes(*std::move(target));

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
  into.watches = std::move(open_file->watches);
  into.bpf_map = open_file->bpf_map;
  if (too_long) return Error{Errc::limit, "fd/" + number + ": its path is longer than a page"};
  return std::nullopt;
}

}  // namespace

Status list_descriptors(const Root& process, std::int32_t pid, const Emit<Descriptor>& emit, Task& task) {
  const auto stat = read_own_stat(process);
  const auto living = open_living(process);
  auto directory = living ? living->descend("fd") : Result<Root>(living.error());
  auto numbers = directory ? list_numbers(*directory) : Result<std::vector<std::int32_t>>(directory.error());
  if (!numbers) {
    if (is_gone(numbers.error())) {
      return Error{Errc::vanished, origin_of(pid) + ": no such process", numbers.error().number};
    }
    return name_capability(std::move(numbers).error());
  }
  const auto take = [&](const Root& owner, std::int32_t tid, std::int32_t number, Table* table) -> Status {
    Descriptor descriptor;
    descriptor.pid = pid;
    descriptor.fd = number;
    descriptor.tid = tid;
    auto missing = fill(owner, descriptor);
    if (missing) {
      if (missing->code == Errc::denied && has_gone(process)) {
        return Error{Errc::vanished, origin_of(pid) + ": ended while its descriptors were read"};
      }
      const bool weaker = is_gone(*missing) || missing->code == Errc::limit;
      const std::string thread = tid == 0 ? "" : "/task/" + std::to_string(tid);
      const std::string origin = origin_of(pid) + thread + "/fd/" + std::to_string(number);
      task.gaps.add(
          gap_of("descriptors", origin, *std::move(missing), weaker ? Impact::degraded : Impact::lost));
      if (descriptor.target.empty() && descriptor.kind.empty()) return Done{};
      if (descriptor.kind.empty()) descriptor.kind = "other";
    }
    if (table != nullptr)
      table->emplace_back(number, identity_of(descriptor.target.view(), descriptor.inode));
    return emit(std::move(descriptor));
  };
  const bool threaded = stat && stat->threads > 1;
  Table table;
  for (const std::int32_t number : *numbers) {
    if (auto going = task.check(); !going) return going;
    auto taken = take(*living, 0, number, threaded ? &table : nullptr);
    if (!taken) return taken;
  }
  if (!threaded) return Done{};
  const TakeOdd odd = [&](const Root& thread, std::int32_t tid, std::int32_t number) {
    return take(thread, tid, number, nullptr);
  };
  return list_odd_descriptors(process, pid, *living, table, odd, task);
}

}  // namespace ctriage::proc
