#pragma once
// System calls on netlink sockets, netlink(7): part of sys.h, apart since few need them. The socket is opened
// before the sandbox; asking and reading go on inside.
#include <cstddef>
#include <span>

#include "lib/core/result.h"
#include "lib/core/unique_fd.h"

namespace ctriage::sys {

Result<UniqueFd> netlink_open(int protocol);  // NETLINK_NETFILTER; non-blocking
Status netlink_send(int socket, std::span<const std::byte> request);
struct NetlinkReceived {
  std::size_t size = 0;
  bool whole = true;         // else it was larger than `into`
  bool from_kernel = false;  // root may send to any port
};
Result<NetlinkReceived> netlink_receive(int socket, std::span<std::byte> into);  // EAGAIN: nothing yet

}  // namespace ctriage::sys
