// The sockets of a network namespace, from the tables below /proc/PID/net.
#include <array>
#include <utility>

#include "lib/core/limits.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

constexpr std::array<std::string_view, 9> kFamilies = {"tcp",  "tcp6", "udp",    "udp6",   "raw",
                                                       "raw6", "unix", "packet", "netlink"};

// The path of a unix socket may hold newlines, which the kernel prints as they are: what cannot be a socket
// goes on the path of the one before. What looks like a socket after that may be forged, and the report says
// so.
class Table {
 public:
  Table(std::string_view family, Hex net, std::string origin, const Emit<Socket>& emit, Task& task)
      : family_(family), net_(net), origin_(std::move(origin)), emit_(emit), task_(task) {}

  Status take(std::string_view line, std::uint64_t offset) {
    const bool heading_expected = !std::exchange(begun_, true);
    auto socket = parse_net_line(family_, line);
    if (socket && *socket) {
      auto flushed = flush();
      if (!flushed) return flushed;
      held_ = **std::move(socket);
      return Done{};
    }
    if (socket && heading_expected) return Done{};
    Error error = socket ? Error{Errc::malformed, std::string(family_) + ": a second heading"}
                         : std::move(socket).error();
    if (family_ != "unix" || !held_ || held_->local.empty()) {
      task_.gaps.add(gap_of("sockets", origin_ + "+" + std::to_string(offset), std::move(error)));
      return Done{};
    }
    if (!std::exchange(broken_, true)) {
      task_.gaps.add(gap_of(
          "sockets", origin_ + "+" + std::to_string(offset),
          {Errc::malformed, "unix: a path with a newline; sockets listed after it may be invented by it"},
          Impact::degraded));
    }
    if (held_->local.raw.size() + line.size() < kMaxLineBytes) held_->local.raw.append("\n").append(line);
    return Done{};
  }

  Status flush() {
    if (!held_) return Done{};
    held_->network_namespace = net_;
    auto socket = *std::exchange(held_, std::nullopt);
    return emit_(std::move(socket));
  }

 private:
  std::string_view family_;
  Hex net_;
  std::string origin_;
  const Emit<Socket>& emit_;
  Task& task_;
  std::optional<Socket> held_;
  bool begun_ = false;
  bool broken_ = false;
};

Status read_table(UniqueFd file, const std::string& name, Table& table, const std::string& origin,
                  Task& task) {
  FdSource source(std::move(file), name, task);
  LineReader lines(source, kMaxLineBytes);
  std::string_view line;
  for (;;) {
    auto more = lines.next(line);
    if (!more) {
      if (auto going = task.check(); !going) return going;
      const bool skipped = more.error().code == Errc::limit;
      task.gaps.add(gap_of("sockets", origin, std::move(more).error()));
      if (skipped) continue;
      return table.flush();
    }
    if (!*more) return table.flush();
    auto taken = table.take(line, lines.offset());
    if (!taken) return taken;
  }
}

}  // namespace

Status list_sockets(const Root& process, std::int32_t pid, const Emit<Socket>& emit, Task& task) {
  Hex net;
  auto inode = read_namespace(process, "net");
  if (inode) {
    net = *inode;
  } else if (is_gone(inode.error())) {  // zombies have none left, too
    return Error{Errc::vanished, origin_of(pid) + ": has no network namespace any more",
                 inode.error().number};
  } else {
    task.gaps.add(gap_of("sockets", origin_of(pid) + "/ns/net", std::move(inode).error(), Impact::degraded));
  }

  for (const std::string_view family : kFamilies) {
    if (auto going = task.check(); !going) return going;
    const std::string name = std::string("net/").append(family);
    const std::string origin = origin_of(pid) + "/" + name;
    auto file = process.open_in_root(name);
    if (!file) {
      // No IPv6, no packet sockets in this kernel: then there is no table either.
      if (file.error().code == Errc::not_found && read_namespace(process, "net")) continue;
      if (is_gone(file.error()))
        return Error{Errc::vanished, origin_of(pid) + ": ended while its sockets were read"};
      task.gaps.add(gap_of("sockets", origin, std::move(file).error()));
      continue;
    }
    Table table(family, net, origin, emit, task);
    auto read = read_table(*std::move(file), name, table, origin, task);
    if (!read) return read;
  }
  return Done{};
}

}  // namespace ctriage::proc
