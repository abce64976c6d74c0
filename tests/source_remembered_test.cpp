// What a view asks for twice is read once where it fits, and a gap is told once where it does not.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "lib/model/file.h"
#include "lib/model/process.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

struct Lab {
  std::atomic<bool> stop = false;
  GapLog gaps;
  Task task{gaps, stop, [] { return Timestamp{}; }};
  int reads = 0;
  std::size_t items = 3;

  Status read(const Emit<FileChange>& emit, Task& reading) {
    ++reads;
    reading.gaps.add({Impact::lost, "file", "/b", {Errc::io, "bad"}});
    if (reads > 1) reading.gaps.add({Impact::lost, "file", "/new", {Errc::io, "bad"}});
    for (std::size_t i = 0; i < items; ++i) {
      FileChange change;
      change.path = Bytes("/" + std::to_string(i) + std::string(100, 'x'));
      if (auto done = emit(std::move(change)); !done) return done;
    }
    return Done{};
  }
  std::vector<std::string> list(Remembered<FileChange>& remembered, std::size_t most = SIZE_MAX) {
    std::vector<std::string> paths;
    (void)remembered.list(
        "c",
        [&](FileChange&& change) -> Status {
          if (paths.size() == most) return Error{Errc::full, "enough"};
          paths.push_back(change.path.raw);
          return Done{};
        },
        task, [this](const Emit<FileChange>& emit, Task& reading) { return read(emit, reading); });
    return paths;
  }
};

TEST(Remembered, WhatFitsIsReadOnce) {
  Lab lab;
  Remembered<FileChange> remembered(1 << 20);
  const auto first = lab.list(remembered);
  EXPECT_EQ(first.size(), 3U);
  EXPECT_EQ(lab.list(remembered), first);
  EXPECT_EQ(lab.list(remembered, 1).size(), 1U);
  EXPECT_EQ(lab.reads, 1);
  EXPECT_EQ(lab.gaps.total(), 1U);
}

TEST(Remembered, WhatDoesNotFitIsReadAgainAndItsGapsToldOnce) {
  const std::size_t item_bytes = sizeof(FileChange) + 100;
  for (const std::size_t room : {std::size_t{0}, item_bytes, 2 * item_bytes}) {
    SCOPED_TRACE(room);
    Lab lab;
    Remembered<FileChange> remembered(room);
    const auto first = lab.list(remembered);
    EXPECT_EQ(first.size(), 3U);
    EXPECT_EQ(lab.list(remembered), first);
    EXPECT_EQ(lab.list(remembered), first);
    EXPECT_EQ(lab.reads, 3);
    EXPECT_EQ(lab.gaps.total(), 2U);  // "/b", and "/new" that only the second reading saw
  }
}

TEST(Remembered, AListingThatWasRefusedIsNotTheWhole) {
  Lab lab;
  Remembered<FileChange> remembered(1 << 20);
  EXPECT_EQ(lab.list(remembered, 1).size(), 1U);
  EXPECT_EQ(lab.list(remembered).size(), 3U);
  EXPECT_EQ(lab.reads, 2);
  lab.stop = true;
  lab.items = 0;
  EXPECT_TRUE(lab.list(remembered).empty());
}

TEST(Remembered, HeapBytesCountWhatGrows) {
  Process small;
  Process big;
  big.environ.assign(100, Bytes(std::string(1'000, 'x')));
  EXPECT_LT(heap_bytes(small), 1'000U);
  EXPECT_GT(heap_bytes(big), 100'000U);
  FileChange change;
  change.after.emplace();
  change.after->link_target = Bytes(std::string(500, 'x'));
  EXPECT_GT(heap_bytes(change), 500U);
}

}  // namespace
}  // namespace ctriage::source
