#include "lib/core/sys_netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {

Result<UniqueFd> netlink_open(int protocol) {
  const auto call = [&] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol); };
  const int fd = attempt(Call::channel, call);
  if (fd < 0) return failed("open", "a netlink socket");
  return UniqueFd(fd);
}

Status netlink_send(int socket, std::span<const std::byte> request) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const auto call = [&] {
    return ::sendto(socket, request.data(), request.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
                    sizeof kernel);
  };
  return done_or(attempt(Call::channel, call), "send to", "the kernel's netlink");
}

Result<NetlinkReceived> netlink_receive(int socket, std::span<std::byte> into) {
  iovec part{into.data(), into.size()};
  sockaddr_nl from{};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t size = attempt(Call::channel, [&] { return ::recvmsg(socket, &message, 0); });
  if (size < 0) return failed("receive from", "the kernel's netlink");
  NetlinkReceived received;
  received.size = static_cast<std::size_t>(size);
  received.whole = (message.msg_flags & MSG_TRUNC) == 0;
  received.from_kernel = message.msg_namelen == sizeof from && from.nl_pid == 0;
  return received;
}

}  // namespace ctriage::sys
