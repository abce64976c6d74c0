#pragma once
// Many alike items on as many threads as there are processors.
#include <cstddef>
#include <functional>

#include "lib/core/result.h"
#include "lib/core/task.h"

namespace ctriage {

struct Share {
  std::size_t index = 0;   // of the item
  std::size_t worker = 0;  // below worker_count(): who needs something of his own finds it there
};

// How many will work on that many items: one, ourselves, where a thread would cost more than it brings.
std::size_t worker_count(std::size_t items);

// Calls `work` once for each item below `items`, as long as the task goes on, each in a thread of its own
// with others; its task has a log of its own, and all of them are merged in the order of the items. The first
// error in that order is the answer; what came after it may have been worked on. `work` throws nothing but
// what ends the program.
Status for_each_item(std::size_t items, Task& task, const std::function<Status(Share, Task&)>& work);

}  // namespace ctriage
