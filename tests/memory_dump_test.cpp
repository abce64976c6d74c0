#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <thread>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/memory/core_file.h"
#include "lib/memory/dump.h"
#include "lib/proc/proc.h"
#include "tests/proc_child.h"
#include "tests/temp_dir.h"

namespace ctriage::memory {
namespace {

using testing::Board;
using testing::Child;

constexpr std::uint64_t kPage = 4096;

struct StringSink final : ByteSink {
  std::string bytes;
  std::size_t calls = 0;
  std::function<Status(std::string_view)> before = [](std::string_view) { return Done{}; };
  Status write(std::span<const std::byte> more) override {
    ++calls;
    const std::string_view text(reinterpret_cast<const char*>(more.data()), more.size());
    if (auto go_on = before(text); !go_on) return go_on;
    bytes.append(text);
    return Done{};
  }
};

std::uint64_t address_of(const void* at) { return reinterpret_cast<std::uintptr_t>(at); }

char* map(std::size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
  void* at = ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  ::madvise(at, pages * kPage, MADV_NOHUGEPAGE);
  return static_cast<char*>(at);
}

// At the beginning of an area, so that a test knows when its first window is written.
std::string mark_of(std::int32_t pid) { return "area of " + std::to_string(pid) + "!"; }

class MemoryDump : public ::testing::Test, public testing::TaskFixture {
 protected:
  void SetUp() override {
    std::string why;
    auto proc = proc::open_procfs(why);
    ASSERT_TRUE(proc) << proc.error().what;
    proc_.emplace(*std::move(proc));
    auto readers = proc::Readers::start(*proc_);
    ASSERT_TRUE(readers) << readers.error().what;
    readers_.emplace(*std::move(readers));
  }

  void start(const std::function<void()>& run) {
    child_ = std::make_unique<Child>([&] {
      run();
      board_[0] = 1;
    });
    ASSERT_EQ(board_.wait(0), 1);
  }

  Result<DumpedProcess> dump(const DumpOptions& options = {}) {
    core_.bytes.clear();
    core_.calls = 0;
    ranges_.clear();
    const auto stat = proc::read_stat(*proc_, child_->pid());
    if (!stat) return stat.error();
    return dump_process(
        *proc_, *readers_, child_->pid(), stat->start_ticks, options, core_,
        [this](PageRange&& range) -> Status {
          on_range_(range);
          ranges_.push_back(std::move(range));
          return Done{};
        },
        task);
  }

  // Bytes of memory as the core has them; nothing where no segment with data has them all.
  std::optional<std::string> bytes_at(std::uint64_t address, std::size_t size) {
    Elf64_Ehdr header{};
    std::memcpy(&header, core_.bytes.data(), sizeof header);
    for (std::size_t i = 1; i < header.e_phnum; ++i) {
      Elf64_Phdr load{};
      std::memcpy(&load, core_.bytes.data() + header.e_phoff + i * sizeof load, sizeof load);
      if (address >= load.p_vaddr && address + size <= load.p_vaddr + load.p_filesz)
        return core_.bytes.substr(load.p_offset + (address - load.p_vaddr), size);
    }
    return std::nullopt;
  }
  // "data 2, hole 3": states and pages from `start`.
  std::string states_of(const char* start, std::size_t pages) {
    std::string text;
    const std::uint64_t first = address_of(start);
    for (const PageRange& range : ranges_) {
      const std::uint64_t from = std::max(range.start.value, first);
      const std::uint64_t to = std::min(range.end.value, first + pages * kPage);
      if (from >= to) continue;
      text += (text.empty() ? "" : ", ") + std::string(to_text(range.state)) + " " +
              std::to_string((to - from) / kPage);
    }
    return text;
  }
  std::string status() {
    std::ifstream file("/proc/" + std::to_string(child_->pid()) + "/status");
    std::string text;
    for (std::string line; std::getline(file, line);)
      if (line.starts_with("VmRSS") || line.starts_with("VmPTE")) text += line;
    return text;
  }

  Board board_;
  StringSink core_;
  std::vector<PageRange> ranges_;
  std::function<void(const PageRange&)> on_range_ = [](const PageRange&) {};
  std::optional<Root> proc_;
  std::optional<proc::Readers> readers_;
  std::unique_ptr<Child> child_;
};

TEST_F(MemoryDump, RangesCoverAllThatIsMappedAndTheTargetDoesNotGrow) {
  char* area = map(64);
  char* reserved = map((std::size_t{16} << 30) / kPage);
  start([&] {
    for (const std::size_t page : {0U, 1U, 40U})
      std::memset(area + page * kPage, 'A' + static_cast<int>(page), kPage);
    volatile char zero = area[10 * kPage];
    static_cast<void>(zero);
    ::mprotect(area + 40 * kPage, kPage, PROT_NONE);
    std::memset(reserved + (std::size_t{8} << 30), 'r', kPage);
  });
  const std::string before = status();
  const auto dumped = dump();
  ASSERT_TRUE(dumped) << dumped.error().what;
  EXPECT_EQ(status(), before);
  EXPECT_EQ(core_.bytes.size(), dumped->size_bytes);
  EXPECT_LT(core_.bytes.size(), 64U << 20);  // of a sanitizer's shadow there is some

  EXPECT_EQ(states_of(area, 64), "data 2, hole 8, zero 1, hole 29, data 1, hole 23");
  EXPECT_EQ(bytes_at(address_of(area), 2 * kPage), std::string(kPage, 'A') + std::string(kPage, 'B'));
  EXPECT_EQ(bytes_at(address_of(area) + 40 * kPage, kPage), std::string(kPage, 'i'));
  EXPECT_EQ(bytes_at(address_of(area) + 41 * kPage, 1), std::nullopt);
  EXPECT_EQ(bytes_at(address_of(reserved) + (std::size_t{8} << 30), kPage), std::string(kPage, 'r'));

  // The kernel's own list is the oracle.
  std::ifstream maps("/proc/" + std::to_string(child_->pid()) + "/maps");
  std::size_t next = 0;
  std::uint64_t mapped = 0;
  for (std::string line; std::getline(maps, line);) {
    const auto mapping = proc::parse_maps_line(line);
    ASSERT_TRUE(mapping);
    std::uint64_t at = mapping->start.value;
    for (; next < ranges_.size() && at < mapping->end.value; ++next) {
      ASSERT_EQ(ranges_[next].start.value, at) << line;
      ASSERT_EQ(ranges_[next].path.raw, mapping->path.raw);
      ASSERT_EQ(ranges_[next].protection, mapping->protection);
      if (ranges_[next].core_offset_bytes && ranges_[next].state == PageState::data) {
        const std::uint64_t size = ranges_[next].end.value - at;
        ASSERT_EQ(bytes_at(at, size), core_.bytes.substr(*ranges_[next].core_offset_bytes, size));
      }
      at = ranges_[next].end.value;
    }
    ASSERT_EQ(at, mapping->end.value) << line;
    mapped += mapping->end.value - mapping->start.value;
  }
  EXPECT_EQ(next, ranges_.size());
  EXPECT_EQ(dumped->mapped_bytes, mapped);
  EXPECT_EQ(dumped->lost_bytes, 0U);
  EXPECT_EQ(dumped->threads, 1U);
  EXPECT_EQ(dumped->threads_with_registers, 1U);
  for (const Gap& gap : gaps.kept()) EXPECT_EQ(gap.impact, Impact::note) << gap.error.what;
}

TEST_F(MemoryDump, SharedPagesAreInOneCoreOfSeveral) {
  char* area = map(8, MAP_SHARED | MAP_ANONYMOUS);
  std::memset(area, 's', 2 * kPage);
  start([&] {
    for (const std::size_t page : {1U, 5U}) area[page * kPage + 1] = 'c';
    board_[1] = area[0];
  });
  SharedPages shared;
  ASSERT_EQ(shared.claim(0, 0, 0, 1, 1).size(), 1U);
  DumpOptions options;
  options.plan.shared = &shared;
  ASSERT_TRUE(dump(options));
  EXPECT_EQ(states_of(area, 8), "data 2, hole 3, data 1, hole 2");
  const auto child = std::move(child_);
  // Another process with the same object, which has touched one page more.
  board_[0] = 0;
  start([&] {
    for (const std::size_t page : {1U, 6U}) area[page * kPage + 1] = 'd';
    board_[1] = area[0] + area[5 * kPage];
  });
  ASSERT_TRUE(dump(options));
  EXPECT_EQ(states_of(area, 8), "shared 2, hole 3, shared 1, data 1, hole 1");
  for (const PageRange& range : ranges_) {
    if (range.state == PageState::shared && range.start.value == address_of(area) + kPage) {
      EXPECT_EQ(range.shared_with, child->pid());
    }
    if (range.state == PageState::hole && range.start.value == address_of(area) + 2 * kPage) {
      EXPECT_NE(range.reason.value_or("").find("may have bytes there"), std::string::npos);
    }
  }
  EXPECT_EQ(bytes_at(address_of(area) + 6 * kPage, 2), std::string("\0d", 2));
}

// The shmid stands for the inode, and another IPC namespace has the same ones.
TEST_F(MemoryDump, SysVSegmentsAreInEveryCore) {
  const int id = ::shmget(IPC_PRIVATE, 4 * kPage, IPC_CREAT | 0600);
  ASSERT_NE(id, -1);
  auto* area = static_cast<char*>(::shmat(id, nullptr, 0));
  ::shmctl(id, IPC_RMID, nullptr);
  ASSERT_NE(area, reinterpret_cast<char*>(-1));
  SharedPages shared;
  DumpOptions options;
  options.plan.shared = &shared;
  std::unique_ptr<Child> first;
  for (int i = 0; i < 2; ++i) {
    board_[0] = 0;
    start([&] { std::memset(area, 's', 2 * kPage); });
    ASSERT_TRUE(dump(options));
    EXPECT_EQ(states_of(area, 4), "data 2, hole 2");
    first = std::move(child_);
  }
  ::shmdt(area);
}

TEST_F(MemoryDump, SharedPagesOfACoreThatFailedAreInTheNext) {
  char* area = map(8, MAP_SHARED | MAP_ANONYMOUS);
  start([&] { std::memset(area, 's', 2 * kPage); });
  SharedPages shared;
  DumpOptions options;
  options.plan.shared = &shared;
  core_.before = [](std::string_view) -> Status { return Error{Errc::full, "full"}; };
  ASSERT_FALSE(dump(options));
  core_.before = [](std::string_view) -> Status { return Done{}; };
  const auto child = std::move(child_);
  board_[0] = 0;
  start([&] { area[1] = 's'; });
  ASSERT_TRUE(dump(options));
  EXPECT_EQ(states_of(area, 1), "data 1");
}

// A file that cannot be looked at may lie in memory.
TEST_F(MemoryDump, AFileThatCannotBeLookedAtIsTaken) {
  const TempDir temp;
  const auto process = Root::open(temp.path());
  ASSERT_TRUE(process);
  Plan plan;
  plan.paths = {"", "/var/lib/db"};
  Region region;
  region.start = 0x10000;
  region.end = 0x20000;
  region.inode = 9;
  region.path = 1;
  region.protection = {'r', 'w', '-', 's'};
  plan.regions = {region};
  choose_regions(*process, *readers_, {}, plan, task);
  EXPECT_EQ(plan.choices.at(0).take, Take::all);
}

// What goes while it is read is not made again, and is told.
TEST_F(MemoryDump, PagesThatGoWhileTheyAreRead) {
  char* area = map(2048);
  start([&] {
    std::memset(area, 'x', 2048 * kPage);
    mark_of(::getpid()).copy(area, kPage);
  });
  const auto stat = proc::read_stat(*proc_, child_->pid());
  ASSERT_TRUE(stat);
  Child& child = *child_;
  bool ended = false;
  // After the first window of the area is written the process ends.
  core_.before = [&](std::string_view text) -> Status {
    if (!ended && text.starts_with(mark_of(child.pid()))) {
      ended = true;
      child.end();
    }
    return Done{};
  };
  ranges_.clear();
  const auto dumped = dump_process(
      *proc_, *readers_, child.pid(), stat->start_ticks, {}, core_,
      [this](PageRange&& range) -> Status {
        ranges_.push_back(std::move(range));
        return Done{};
      },
      task);
  ASSERT_TRUE(ended);
  ASSERT_TRUE(dumped) << dumped.error().what;
  EXPECT_EQ(core_.bytes.size(), dumped->size_bytes);  // whole in form
  EXPECT_GT(dumped->lost_bytes, 0U);
  EXPECT_GE(gaps.count(Impact::lost), 1U);
  const std::string states = states_of(area, 2048);
  EXPECT_TRUE(states.starts_with("data ")) << states;
  EXPECT_NE(states.find("vanished "), std::string::npos) << states;
}

// The reader of the test whose main thread is `tid`, which has another child, too.
std::int32_t reader_of(std::int32_t tid, std::int32_t besides) {
  std::int32_t watchdog = 0;
  std::ifstream children("/proc/self/task/" + std::to_string(tid) + "/children");
  for (std::int32_t pid = 0; children >> pid;)
    if (pid != besides) watchdog = pid;
  std::ifstream readers("/proc/" + std::to_string(watchdog) + "/task/" + std::to_string(watchdog) +
                        "/children");
  std::int32_t last = 0;
  for (std::int32_t pid = 0; readers >> pid;) last = pid;
  return last;
}

// A reader that is stopped answers as little as one that a dead file server holds.
TEST_F(MemoryDump, AReadThatSticksCostsOneMapping) {
  char* area = map(4096);
  start([&] {
    std::memset(area, 'x', 4096 * kPage);
    mark_of(::getpid()).copy(area, kPage);
  });
  const std::int32_t pid = child_->pid();
  int stops = 0;
  core_.before = [&](std::string_view text) -> Status {
    if (stops == 0 && text.starts_with(mark_of(pid))) {
      ++stops;
      const std::int32_t reader = reader_of(::gettid(), pid);
      if (reader > 0) ::kill(reader, SIGSTOP);
    }
    return Done{};
  };
  const auto dumped = dump();
  ASSERT_TRUE(dumped) << dumped.error().what;
  EXPECT_EQ(stops, 1);
  EXPECT_EQ(core_.bytes.size(), dumped->size_bytes);
  // The next reader is not stuck: all of it was had.
  EXPECT_EQ(states_of(area, 4096), "data 4096");
  EXPECT_EQ(dumped->lost_bytes, 0U);
}

// Every reader is stopped until something has been given up.
TEST_F(MemoryDump, WhatSticksAgainIsToldAndTheRestIsRead) {
  char* area = map(4096);
  start([&] {
    std::memset(area, 'x', 4096 * kPage);
    mark_of(::getpid()).copy(area, kPage);
  });
  const std::int32_t pid = child_->pid();
  const std::int32_t tid = ::gettid();
  std::atomic<bool> stopping = false;
  std::atomic<bool> over = false;
  std::thread stopper([&] {
    while (!over) {
      const std::int32_t reader = stopping ? reader_of(tid, pid) : 0;
      if (reader > 0) ::kill(reader, SIGSTOP);
    }
  });
  core_.before = [&](std::string_view text) -> Status {
    if (text.starts_with(mark_of(pid))) stopping = true;
    return Done{};
  };
  on_range_ = [&](const PageRange& range) {
    if (range.state == PageState::timeout) stopping = false;
  };
  const auto dumped = dump();
  over = true;
  stopper.join();
  ASSERT_TRUE(dumped) << dumped.error().what;
  EXPECT_EQ(core_.bytes.size(), dumped->size_bytes);
  EXPECT_GT(dumped->lost_bytes, 0U);
  const std::string states = states_of(area, 4096);
  EXPECT_TRUE(states.starts_with("data ")) << states;
  EXPECT_NE(states.find(", timeout "), std::string::npos) << states;
  bool told = false;
  for (const PageRange& range : ranges_) {
    if (range.state != PageState::timeout) continue;
    EXPECT_NE(range.reason.value_or("").find("no answer in 2 s"), std::string::npos);
    EXPECT_TRUE(range.core_offset_bytes);
  }
  for (const Gap& gap : gaps.kept())
    told = told || (gap.impact == Impact::lost && gap.error.code == Errc::timeout);
  EXPECT_TRUE(told);
  EXPECT_EQ(ranges_.back().state, PageState::device);  // [vsyscall], the last
}

TEST_F(MemoryDump, WhatHasNoMemory) {
  const auto stat = proc::read_stat(*proc_, 2);  // kthreadd
  if (stat && stat->is_kernel_thread()) {
    const auto dumped = dump_process(
        *proc_, *readers_, 2, stat->start_ticks, {}, core_, [](PageRange&&) -> Status { return Done{}; },
        task);
    ASSERT_FALSE(dumped);
    EXPECT_EQ(dumped.error().code, Errc::unsupported);
  }
  start([] {});
  const auto wrong = dump_process(
      *proc_, *readers_, child_->pid(), 1, {}, core_, [](PageRange&&) -> Status { return Done{}; }, task);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Errc::vanished);
  EXPECT_TRUE(core_.bytes.empty());
}

TEST_F(MemoryDump, AFullDiskAndAStopEndIt) {
  start([] {});
  core_.before = [this](std::string_view) -> Status {
    return core_.calls == 3 ? Status(Error{Errc::full, "full"}) : Status(Done{});
  };
  DumpOptions small;
  small.max_core_bytes = kPage;
  const auto too_small = dump(small);
  ASSERT_FALSE(too_small);
  EXPECT_EQ(too_small.error().code, Errc::full);
  EXPECT_EQ(core_.calls, 0U);
  const auto full = dump();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::full);
  core_.before = [this](std::string_view) -> Status {
    stop = true;
    return Done{};
  };
  const auto stopped = dump();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::stopped);
}

TEST(CoreFile, GetsItsNameWhenItIsWhole) {
  const TempDir temp;
  auto directory = Root::open(temp.path());
  ASSERT_TRUE(directory);
  const std::string text(3 << 20, 'b');
  const auto bytes = std::as_bytes(std::span(text));
  {
    auto file = CoreFile::create(*directory, "x.core", 4 << 20);
    ASSERT_TRUE(file) << file.error().what;
    EXPECT_EQ(CoreFile::create(*directory, "x.core", 4 << 20).error().number, EEXIST);
    ASSERT_TRUE((*file)->write(bytes.first(1)));
    ASSERT_TRUE((*file)->write(bytes.subspan(1)));
    EXPECT_FALSE(directory->stat_beneath("x.core"));
    const auto digest = (*file)->seal();
    ASSERT_TRUE(digest);
    EXPECT_EQ(*digest, sha256(bytes));
  }
  const auto info = directory->stat_beneath("x.core");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->size_bytes, text.size());
  EXPECT_EQ(info->mode & 07777U, 0600U);
  EXPECT_FALSE(directory->stat_beneath("x.core.part"));
  EXPECT_EQ(CoreFile::create(*directory, "x.core", 4 << 20).error().number, EEXIST);
  auto unsealed = CoreFile::create(*directory, "y.core", 4 << 20);
  ASSERT_TRUE(unsealed);
  ASSERT_TRUE((*unsealed)->write(bytes));
  EXPECT_EQ((*unsealed)->write(bytes).error().code, Errc::full);
  EXPECT_EQ((*unsealed)->file().size_bytes(), bytes.size());
  unsealed->reset();
  EXPECT_TRUE(directory->stat_beneath("y.core.part"));
}

}  // namespace
}  // namespace ctriage::memory
