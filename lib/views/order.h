#pragma once
// Events by time in bounded memory, without a temporary file: the list is gone through again and again, and
// each time the earliest events after those already given are kept, as many as fit. A list that fits is gone
// through once; a million changed files in about fifty goes. What is the same in all is given once. A live
// source may change between two goes: an event that comes to lie before what was given is missed.
#include <cstddef>
#include <functional>
#include <optional>

#include "lib/core/task.h"
#include "lib/model/event.h"

namespace ctriage::views {

constexpr std::size_t kMaxKeptBytes = 24 << 20;

struct OrderOptions {
  std::int64_t skew_s = 0;         // added to every time first
  std::optional<Timestamp> since;  // that one too
  std::optional<Timestamp> until;  // up to, not that one
  std::size_t most_bytes = kMaxKeptBytes;
};
// `list` gives the same events each time; its gaps count of the first time alone.
using ListEventsAgain = std::function<Status(const Emit<Event>&, Task&)>;
Status give_in_order(const ListEventsAgain& list, const OrderOptions& options, const Emit<Event>& emit,
                     Task& task);

}  // namespace ctriage::views
