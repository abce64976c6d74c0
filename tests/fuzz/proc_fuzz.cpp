// The first byte says which parser gets the rest.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "lib/core/stream.h"
#include "lib/core/text.h"
#include "lib/proc/network.h"
#include "lib/proc/proc.h"
#include "lib/proc/smaps.h"

using namespace ctriage;

namespace {

constexpr std::string_view kFamilies[] = {"tcp",  "tcp6", "udp",    "udp6",   "raw",
                                          "raw6", "unix", "packet", "netlink"};

void parse_tables(std::string_view text) {
  for (const std::string_view line : split(text, '\n')) {
    for (const std::string_view family : kFamilies) (void)proc::parse_net_line(family, line);
  }
}

void parse_network(std::string_view text) {
  proc::LocalAddresses local;
  for (const std::string_view line : split(text, '\n')) {
    for (const std::string_view table : {"dev", "route", "ipv6_route", "arp", "if_inet6"})
      (void)proc::parse_network_line(table, line);
    (void)local.take(line);
  }
}

void parse_smaps(std::string_view text) {
  GapLog gaps;
  const std::atomic<bool> stop = false;
  Task task{gaps, stop, [] { return Timestamp{}; }};
  MemorySource in(text);
  (void)proc::parse_smaps(
      in, 1, [](Mapping&&, proc::VmFlags) -> Status { return Done{}; }, task);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Process process;
  switch (data[0]) {
    case 's':
      (void)proc::parse_stat(text);
      break;
    case 'S':
      (void)proc::parse_status(text, process);
      break;
    case 'l':
      (void)proc::parse_limits(text);
      break;
    case 'f':
      (void)proc::parse_fdinfo(text);
      break;
    case 'n':
      parse_tables(text);
      break;
    case 'm':
      for (const std::string_view line : split(text, '\n')) (void)proc::parse_maps_line(line);
      break;
    case 'p':
      parse_smaps(text);
      break;
    case 'M':
      for (const std::string_view line : split(text, '\n')) (void)proc::parse_mountinfo_line(line);
      break;
    case 'N':
      parse_network(text);
      break;
    case 'F':
      if (auto flow = proc::parse_flow(std::as_bytes(std::span(text)))) (void)proc::addresses_of(*flow);
      break;
    case 'c':
      for (const auto& line : proc::parse_cgroup(text)) (void)proc::parse_cgroup_owner(line.path);
      break;
    default:
      (void)proc::unescape_octal(text);
      (void)proc::parse_cgroup_owner(text);
  }
  return 0;
}
