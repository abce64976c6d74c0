#include <algorithm>
#include <iterator>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/criu/criu.h"

namespace ctriage::criu {
namespace {

// criu/include/magic.h.
constexpr std::uint32_t kCommonMagic = 0x54564319;  // v1.1 and later, before the magic of the kind

struct KindInfo {
  Kind kind;
  std::uint32_t magic;
  std::string_view name;
};
constexpr KindInfo kKinds[] = {
    {Kind::inventory, 0x58313116, "inventory"},
    {Kind::pstree, 0x50273030, "pstree"},
    {Kind::core, 0x55053847, "core"},
    {Kind::ids, 0x54432030, "ids"},
    {Kind::mm, 0x57492820, "mm"},
    {Kind::pagemap, 0x56084025, "pagemap"},
    {Kind::files, 0x56303138, "files"},
    {Kind::fdinfo, 0x56213732, "fdinfo"},
    {Kind::fs, 0x51403912, "fs"},
    {Kind::remap_fpath, 0x59133954, "remap-fpath"},
    {Kind::ghost_file, 0x52583605, "ghost-file"},
    {Kind::memfd, 0x48453499, "memfd"},
    {Kind::sk_queues, 0x56264026, "sk-queues"},
    {Kind::tcp_stream, 0x51465506, "tcp-stream"},
    {Kind::mountpoints, 0x55563928, "mountpoints"},
    {Kind::cgroup, 0x59383330, "cgroup"},
    {Kind::utsns, 0x54473203, "utsns"},
    {Kind::tty_info, 0x59453036, "tty-info"},
    {Kind::reg_files, 0x50363636, "reg-files"},
    {Kind::pipes, 0x56513555, "pipes"},
    {Kind::fifo, 0x58364939, "fifo"},
    {Kind::inetsk, 0x56443851, "inetsk"},
    {Kind::unixsk, 0x54373943, "unixsk"},
    {Kind::eventfd, 0x44523722, "eventfd"},
    {Kind::eventpoll, 0x45023858, "eventpoll"},
    {Kind::inotify, 0x48424431, "inotify"},
    {Kind::signalfd, 0x57323820, "signalfd"},
    {Kind::packetsk, 0x60454618, "packetsk"},
    {Kind::tty, 0x59433025, "tty"},
    {Kind::fanotify, 0x55096122, "fanotify"},
    {Kind::netlinksk, 0x58005614, "netlinksk"},
    {Kind::ns_files, 0x61394011, "ns-files"},
    {Kind::tunfile, 0x57143751, "tunfile"},
    {Kind::ext_files, 0x59255641, "ext-files"},
    {Kind::timerfd, 0x50493712, "timerfd"},
    {Kind::pidfd, 0x54435556, "pidfd"},
    {Kind::pipes_data, 0x56453709, "pipes-data"},
    {Kind::fifo_data, 0x59333054, "fifo-data"},
    {Kind::ipc_shm, 0x46283044, "ipcns-shm"},
    {Kind::ipc_msg, 0x55453737, "ipcns-msg"},
    {Kind::seccomp, 0x64413049, "seccomp"},
    {Kind::sigacts, 0x55344201, "sigacts"},
    {Kind::itimers, 0x57464056, "itimers"},
    {Kind::posix_timers, 0x52603957, "posix-timers"},
    {Kind::inotify_wd, 0x54562009, "inotify-wd"},
    {Kind::fanotify_mark, 0x56506035, "fanotify-mark"},
    {Kind::eventpoll_tfd, 0x44433746, "eventpoll-tfd"},
};

const KindInfo& info_of(Kind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds),
                       [&](const KindInfo& info) { return info.kind == kind; });
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

Result<ImageReader> ImageReader::open(std::string_view file, Kind kind) {
  const KindInfo& info = info_of(kind);
  ByteCursor in(as_bytes(file));
  std::uint32_t magic = in.u32();
  if (magic == kCommonMagic) magic = in.u32();
  if (!in.ok()) return in.error(std::string(info.name) + " image");
  if (magic != info.magic)
    return Error{Errc::malformed,
                 "not a CRIU image of kind " + std::string(info.name) + ": another magic number"};
  return ImageReader(file.substr(static_cast<std::size_t>(in.offset())), kind);
}

Result<bool> ImageReader::next(std::string_view& message) {
  if (rest_.empty()) return false;
  const std::string where = std::string(info_of(kind_).name) + " image, entry " + std::to_string(entries_);
  ByteCursor in(as_bytes(rest_));
  const std::uint32_t size = in.u32();
  if (in.ok() && size > kMaxCriuEntryBytes)
    return Error{Errc::limit, where + ": over " + std::to_string(kMaxCriuEntryBytes) + " bytes"};
  message = in.text(size);
  if (!in.ok()) return Error{Errc::truncated, where + ": the file ends inside it"};
  if (++entries_ > kMaxCriuEntries)
    return Error{Errc::limit, where + ": over " + std::to_string(kMaxCriuEntries) + " entries"};
  rest_.remove_prefix(static_cast<std::size_t>(in.offset()));
  return true;
}

Result<std::string_view> ImageReader::take(std::uint64_t size) {
  if (size > rest_.size()) {
    return Error{Errc::truncated, std::string(info_of(kind_).name) +
                                      " image: the file ends inside the data of entry " +
                                      std::to_string(entries_)};
  }
  const std::string_view head = rest_.substr(0, static_cast<std::size_t>(size));
  rest_.remove_prefix(head.size());
  return head;
}

}  // namespace ctriage::criu
