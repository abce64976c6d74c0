#pragma once
// Where a thing that was found lies. Private to lib/search.
#include "lib/model/pages.h"

namespace ctriage::search {

// `found` is a MemoryMatch or a FoundString; `address` as the visitor was handed it, in the area `in`.
template <class T>
void place_in(const MemoryArea& in, std::uint64_t address, T& found) {
  found.container = in.container;
  if (in.pid != 0) found.pid = in.pid;
  if (in.container_pid != 0) found.container_pid = in.container_pid;
  found.kind = in.kind;
  if (in.address) found.address = Hex{*in.address + (address - in.start)};
  found.protection = in.protection;
  found.path = in.path;
  if (in.has_offset) found.offset_bytes = in.offset_bytes + (address - in.start);
}

}  // namespace ctriage::search
