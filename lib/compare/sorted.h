#pragma once
// Lists in the order of their keys, in bounded memory: read again, as often as it takes, each time the next
// ones are kept.
#include <functional>

#include "lib/compare/item.h"
#include "lib/core/task.h"

namespace ctriage::compare {

constexpr std::size_t kSortedBytes = 6 << 20;  // kept of one pass
constexpr std::size_t kMaxPasses = 48;         // over one list

using ListItems = std::function<Status(const Emit<Item>& emit)>;
// Errc::limit when the list is longer than kMaxPasses reach: what was emitted is whole up to there.
Status emit_sorted(const ListItems& list, const Emit<Item>& emit, std::size_t most_bytes = kSortedBytes);
// Of a list that is in order already. Errc::mismatch: it is not.
Status emit_ordered(const ListItems& list, const Emit<Item>& emit);

}  // namespace ctriage::compare
