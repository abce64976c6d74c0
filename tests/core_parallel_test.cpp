#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/core/parallel.h"
#include "lib/core/sys.h"

namespace ctriage {
namespace {

struct Work {
  std::atomic<bool> stop{false};
  GapLog gaps;
  Task task{gaps, stop, [] { return Timestamp{}; }};
};

TEST(Parallel, EachItemOnceAndGapsInTheirOrder) {
  for (const std::size_t items : {0U, 1U, 31U, 64U, 1'001U}) {
    SCOPED_TRACE(items);
    Work work;
    std::vector<int> done(items);
    std::vector<std::size_t> of_worker(worker_count(items));
    const Status status = for_each_item(items, work.task, [&](Share share, Task& task) -> Status {
      ++done[share.index];
      ++of_worker.at(share.worker);
      if (share.index % 3 == 0)
        task.gaps.add({Impact::lost, "item", std::to_string(share.index), {Errc::io, "so it is"}});
      return Done{};
    });
    ASSERT_TRUE(status);
    EXPECT_EQ(done, std::vector<int>(items, 1));
    std::size_t sum = 0;
    for (const std::size_t one : of_worker) sum += one;
    EXPECT_EQ(sum, items);
    ASSERT_EQ(work.gaps.kept().size(), (items + 2) / 3);
    for (std::size_t i = 0; i < work.gaps.kept().size(); ++i)
      EXPECT_EQ(work.gaps.kept()[i].origin, std::to_string(3 * i));
  }
}

TEST(Parallel, TheFirstErrorInOrderAndNothingAfterItIsTold) {
  Work work;
  const Status status = for_each_item(1'000, work.task, [&](Share share, Task& task) -> Status {
    task.gaps.add({Impact::note, "item", std::to_string(share.index), {Errc::io, "so it is"}});
    if (share.index == 3 || share.index == 900) return Error{Errc::limit, std::to_string(share.index)};
    return Done{};
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().what, "3");
  EXPECT_EQ(work.gaps.kept().size(), 4U);
}

TEST(Parallel, AStoppedTaskWorksOnNothing) {
  for (const std::size_t items : {3U, 1'000U}) {
    Work work;
    work.stop = true;
    std::atomic<int> done{0};
    const Status status = for_each_item(items, work.task, [&](Share, Task&) -> Status {
      ++done;
      return Done{};
    });
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::stopped);
    EXPECT_EQ(done, 0);
  }
}

TEST(Parallel, FewItemsAreNotWorthAThread) {
  EXPECT_EQ(worker_count(0), 1U);
  EXPECT_EQ(worker_count(63), 1U);
  EXPECT_EQ(worker_count(1'000'000), std::min(sys::cpu_count(), 4U));
}

}  // namespace
}  // namespace ctriage
