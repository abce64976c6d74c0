#include "lib/core/parallel.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "lib/core/sys.h"

namespace ctriage {
namespace {

constexpr std::size_t kBlock = 8;        // items that one worker takes at a time
constexpr std::size_t kMostWorkers = 4;  // beyond, the kernel's locks are what is waited for

struct Block {
  GapLog gaps;
  std::optional<Error> error;
};

}  // namespace

std::size_t worker_count(std::size_t items) {
  constexpr std::size_t kWorthOne = 4 * kBlock;
  return std::clamp<std::size_t>(items / kWorthOne, 1, std::min<std::size_t>(sys::cpu_count(), kMostWorkers));
}

Status for_each_item(std::size_t items, Task& task, const std::function<Status(Share, Task&)>& work) {
  const std::size_t workers = worker_count(items);
  if (workers == 1) {
    for (std::size_t i = 0; i < items; ++i) {
      if (auto go_on = task.check(); !go_on) return go_on;
      if (auto done = work({i, 0}, task); !done) return done;
    }
    return Done{};
  }

  std::vector<Block> blocks((items + kBlock - 1) / kBlock);
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto run = [&](std::size_t worker) {
    for (std::size_t at = next++; at < blocks.size() && !failed; at = next++) {
      Block& block = blocks[at];
      Task own = task.with(block.gaps);
      own.meter = nullptr;  // which is one thread's
      for (std::size_t i = at * kBlock; i < std::min(items, (at + 1) * kBlock); ++i) {
        Status done = own.check();
        if (done) done = work({i, worker}, own);
        if (!done) {
          block.error = std::move(done).error();
          failed = true;
          break;
        }
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t worker = 1; worker < workers; ++worker) threads.emplace_back(run, worker);
    run(0);
  }
  for (Block& block : blocks) {
    task.gaps.merge(std::move(block.gaps));
    if (block.error) return std::move(*block.error);
  }
  return Done{};
}

}  // namespace ctriage
