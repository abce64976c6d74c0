#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include "lib/core/sys_memory.h"
#include "lib/core/text.h"
#include "lib/proc/memory.h"
#include "lib/proc/proc.h"
#include "lib/proc/smaps.h"
#include "tests/proc_child.h"

namespace ctriage::proc {
namespace {

using testing::Board;
using testing::Child;

constexpr std::uint64_t kPage = 4096;
constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13
constexpr std::uint64_t kReservedBytes = std::uint64_t{1} << 40;

// What a child lays out in one area: pages of `area` and what they are.
struct Laid {
  char* area = nullptr;      // 64 pages
  char* none = nullptr;      // 4 pages, filled, then PROT_NONE
  char* write = nullptr;     // 4 pages, filled, write-only
  char* reserved = nullptr;  // a TiB, one page in its middle
  char* file = nullptr;      // 4 pages of a file: the third written, the others read
  char* watched = nullptr;   // 4 pages of a userfaultfd that nobody answers, the second filled before
};

std::uint64_t address_of(const char* at) { return reinterpret_cast<std::uintptr_t>(at); }

char* map(std::size_t pages, int protection = PROT_READ | PROT_WRITE) {
  void* at = ::mmap(nullptr, pages * kPage, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

class ProcMemory : public ::testing::Test, public testing::TaskFixture {
 protected:
  void SetUp() override {
    std::string why;
    auto proc = open_procfs(why);
    ASSERT_TRUE(proc) << proc.error().what;
    proc_.emplace(*std::move(proc));
    auto readers = Readers::start(*proc_);
    ASSERT_TRUE(readers) << readers.error().what;
    readers_.emplace(*std::move(readers));

    // Mapped here, so that the child has it at the same place and the test knows where; filled by the child.
    laid_.area = map(64);
    laid_.none = map(4);
    laid_.write = map(4);
    laid_.reserved = map(kReservedBytes / kPage);
    laid_.watched = map(4);
    char name[] = "/tmp/ctriage-memory-XXXXXX";
    const UniqueFd file(::mkostemp(name, O_CLOEXEC));
    ::unlink(name);
    const std::string text(4 * kPage, 'f');
    ASSERT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    void* mapped = ::mmap(nullptr, text.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    laid_.file = static_cast<char*>(mapped);
    child_.emplace([this] { lay_out(); });
    ASSERT_EQ(board_.wait(0), 1);
    has_guard_ = board_[1] == 1;
    has_uffd_ = board_[2] == 1;
  }

  void lay_out() {
    for (char* area : {laid_.area, laid_.reserved, laid_.none, laid_.write, laid_.watched})
      ::madvise(area, 64 * kPage, MADV_NOHUGEPAGE);
    for (const std::size_t page : {0U, 1U, 2U, 5U, 9U, 10U, 62U, 63U})
      laid_.area[page * kPage] = static_cast<char>(page + 1);
    if (::madvise(laid_.area + kPage, kPage, kGuardInstall) == 0) board_[1] = 1;
    volatile char seen = laid_.area[20 * kPage];  // the page of zeros
    std::memset(laid_.none, 'n', 4 * kPage);
    ::mprotect(laid_.none, 4 * kPage, PROT_NONE);
    std::memset(laid_.write, 'w', 4 * kPage);
    ::mprotect(laid_.write, 4 * kPage, PROT_WRITE);
    laid_.reserved[kReservedBytes / 2] = 'm';
    seen = laid_.file[0];
    seen = laid_.file[kPage];
    seen = laid_.file[3 * kPage];
    laid_.file[2 * kPage] = 'F';
    static_cast<void>(seen);
    laid_.watched[kPage] = 'u';
    const int uffd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC));
    uffdio_api api{};
    api.api = UFFD_API;
    uffdio_register range{};
    range.range = {address_of(laid_.watched), 4 * kPage};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (uffd >= 0 && ::ioctl(uffd, UFFDIO_API, &api) == 0 && ::ioctl(uffd, UFFDIO_REGISTER, &range) == 0)
      board_[2] = 1;
    board_[0] = 1;
  }

  [[nodiscard]] std::string pid() const { return std::to_string(child_->pid()); }
  Pagemap pagemap() {
    auto file = proc_->open_beneath(pid() + "/pagemap");
    return Pagemap(file ? *std::move(file) : UniqueFd(), pid() + "/pagemap");
  }
  // Of the child, in kB or pages as the file has it.
  std::string status(std::string_view key) {
    std::ifstream file("/proc/" + pid() + "/status");
    for (std::string line; std::getline(file, line);)
      if (line.starts_with(key)) return line;
    return "?";
  }

  Board board_;
  Laid laid_;
  std::optional<Root> proc_;
  std::optional<Readers> readers_;
  std::optional<Child> child_;
  bool has_guard_ = false;
  bool has_uffd_ = false;
};

using List = Result<std::uint64_t> (Pagemap::*)(std::uint64_t, std::uint64_t, std::size_t,
                                                std::vector<PageRun>&);

std::vector<PageRun> all_of(Pagemap& pagemap, List list, const char* area, std::uint64_t bytes,
                            std::size_t most) {
  std::vector<PageRun> runs;
  for (std::uint64_t at = address_of(area), end = at + bytes; at < end;) {
    auto next = (pagemap.*list)(at, end, most, runs);
    EXPECT_TRUE(next.has_value()) << next.error().what;
    if (!next) return runs;
    EXPECT_GT(*next, at);
    at = *next;
  }
  return runs;
}

// Pages from the area's beginning, as "0-1 2:guard".
std::string text_of(const std::vector<PageRun>& runs, const char* area) {
  std::string text;
  for (const PageRun& run : runs) {
    text += (text.empty() ? "" : " ") + std::to_string((run.start - address_of(area)) / kPage);
    if (run.end - run.start > kPage) text += "-" + std::to_string((run.end - address_of(area)) / kPage - 1);
    if (run.flags.swapped) text += ":swapped";
    if (run.flags.file) text += ":file";
    if (run.flags.zero) text += ":zero";
    if (run.flags.guard) text += ":guard";
  }
  return text;
}

TEST_F(ProcMemory, BothWaysTellWhichPagesAreThere) {
  Pagemap of_child = pagemap();
  std::vector<PageRun> probe;
  const bool has_scan =
      of_child.scan(address_of(laid_.area), address_of(laid_.area) + kPage, 1, probe).has_value();
  for (const std::size_t most : {std::size_t{1}, std::size_t{2}, std::size_t{1000}}) {
    for (const bool scan : {true, false}) {
      if (scan && !has_scan) continue;
      SCOPED_TRACE((scan ? "scan, most " : "table, most ") + std::to_string(most));
      const List list = scan ? &Pagemap::scan : &Pagemap::read_table;
      const auto pages = [&](const char* area, std::uint64_t count) {
        return text_of(all_of(of_child, list, area, count * kPage, most), area);
      };
      if (has_guard_) {
        const std::string zero = scan ? "20:zero" : "20";
        EXPECT_EQ(pages(laid_.area, 64), "0 1:guard 2 5 9-10 " + zero + " 62-63");
      }
      EXPECT_EQ(pages(laid_.none, 4), "0-3");
      EXPECT_EQ(pages(laid_.write, 4), "0-3");
      EXPECT_EQ(pages(laid_.file, 4), "0-1:file 2 3:file");
      EXPECT_EQ(pages(laid_.watched, 4), "1");
      EXPECT_EQ(pages(laid_.reserved + kReservedBytes / 2 - kPage, 3), "1");
    }
  }
}

TEST_F(ProcMemory, ATebibyteOfAddressesIsScannedAtOnce) {
  auto memory = Memory::open(*readers_, pid(), task);
  ASSERT_TRUE(memory) << memory.error().what;
  std::vector<PageRun> runs;
  const std::uint64_t end = address_of(laid_.reserved) + kReservedBytes;
  for (std::uint64_t at = address_of(laid_.reserved); at < end;) {
    auto next = memory->list_populated(at, end, runs);
    ASSERT_TRUE(next) << next.error().what;
    at = *next;
  }
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].start, address_of(laid_.reserved) + kReservedBytes / 2);
  EXPECT_EQ(runs[0].end, runs[0].start + kPage);
}

TEST_F(ProcMemory, ReadsWhatIsThereAndNothingElse) {
  const std::string resident = status("VmRSS") + status("VmPTE");
  auto memory = Memory::open(*readers_, pid(), task);
  ASSERT_TRUE(memory) << memory.error().what;
  const char* const areas[] = {laid_.area, laid_.none, laid_.write, laid_.watched};
  const std::size_t pages[] = {64, 4, 4, 4};
  for (std::size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(memory->has_room());
    ASSERT_TRUE(memory->ask(address_of(areas[i]), pages[i], false));
  }
  EXPECT_FALSE(memory->has_room());
  auto area = memory->take();
  ASSERT_TRUE(area) << area.error().what;
  for (std::size_t page = 0; page < 64; ++page) {
    const bool read =
        page == 0 || page == 2 || page == 5 || page == 9 || page == 10 || page == 20 || page >= 62;
    const Outcome expected = read                      ? Outcome::read
                             : page == 1 && has_guard_ ? Outcome::guard
                                                       : Outcome::absent;
    if (page != 1 || has_guard_) {
      EXPECT_EQ(area->pages[page], expected) << page;
    }
    EXPECT_EQ(area->bytes[page * kPage], std::byte(read && page != 20 ? page + 1 : 0)) << page;
  }
  for (const char expected : {'n', 'w'}) {
    auto window = memory->take();
    ASSERT_TRUE(window) << window.error().what;
    for (std::size_t i = 0; i < window->bytes.size(); ++i) ASSERT_EQ(window->bytes[i], std::byte(expected));
    for (const Outcome outcome : window->pages) EXPECT_EQ(outcome, Outcome::read);
  }
  auto watched = memory->take();
  ASSERT_TRUE(watched) << watched.error().what;
  EXPECT_EQ(watched->bytes[kPage], std::byte('u'));
  EXPECT_EQ(watched->pages[0], Outcome::absent);
  EXPECT_EQ(watched->pages[1], Outcome::read);
  EXPECT_TRUE(has_uffd_ || ::geteuid() != 0);
  EXPECT_EQ(status("VmRSS") + status("VmPTE"), resident);
}

TEST_F(ProcMemory, AProcessThatIsGone) {
  auto memory = Memory::open(*readers_, pid(), task);
  ASSERT_TRUE(memory) << memory.error().what;
  const std::string gone = pid();
  child_->end();
  ASSERT_TRUE(memory->ask(address_of(laid_.none), 4, false));
  auto window = memory->take();
  if (window) {
    for (const Outcome outcome : window->pages) EXPECT_NE(outcome, Outcome::read);
  } else {
    EXPECT_EQ(window.error().code, Errc::vanished) << window.error().what;
  }
  auto again = Memory::open(*readers_, gone, task);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::vanished);
}

std::int32_t child_of(std::int32_t parent) {
  std::ifstream file("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
  std::int32_t last = 0;  // one that was killed may be there still
  for (std::int32_t pid = 0; file >> pid;) last = pid;
  return last;
}

// A reader that is stopped answers as little as one that waits for a page of a file whose server is silent.
TEST_F(ProcMemory, AStuckReadEndsAndARecoveredReaderGoesOn) {
  auto memory = Memory::open(*readers_, pid(), task);
  ASSERT_TRUE(memory) << memory.error().what;
  std::int32_t watchdog = 0;
  std::ifstream children("/proc/self/task/" + std::to_string(::gettid()) + "/children");
  for (std::int32_t pid = 0; children >> pid;)
    if (pid != child_->pid()) watchdog = pid;
  const std::int32_t reader = child_of(watchdog);
  ASSERT_GT(reader, 0);
  ::kill(reader, SIGSTOP);
  ASSERT_TRUE(memory->ask(address_of(laid_.none), 4, false));
  ASSERT_TRUE(memory->ask(address_of(laid_.write), 4, false));
  auto stuck = memory->take();
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().code, Errc::timeout);
  ASSERT_TRUE(memory->recover());
  EXPECT_NE(child_of(watchdog), reader);
  ASSERT_TRUE(memory->ask(address_of(laid_.write), 4, false));
  auto window = memory->take();
  ASSERT_TRUE(window) << window.error().what;
  EXPECT_EQ(window->bytes[0], std::byte('w'));
}

TEST_F(ProcMemory, SmapsTellsWhatTheKernelMayDo) {
  auto process = open_process(*proc_, child_->pid(), read_stat(*proc_, child_->pid()).value().start_ticks);
  ASSERT_TRUE(process);
  std::vector<Mapping> mappings;
  bool vvar = false;
  bool watched = false;
  auto listed = list_smaps(
      *process, *readers_, child_->pid(),
      [&](Mapping&& mapping, VmFlags flags) -> Status {
        EXPECT_TRUE(flags.known);
        if (mapping.path.raw == "[vvar]") vvar = flags.pfn || flags.io;
        if (mapping.start.value <= address_of(laid_.watched) && mapping.end.value > address_of(laid_.watched))
          watched = flags.userfault;
        mappings.push_back(std::move(mapping));
        return Done{};
      },
      task);
  ASSERT_TRUE(listed) << listed.error().what;
  EXPECT_TRUE(vvar);
  EXPECT_EQ(watched, has_uffd_);
  std::vector<Mapping> expected;
  ASSERT_TRUE(list_mappings(
      *process, *readers_, child_->pid(),
      [&](Mapping&& mapping) -> Status {
        expected.push_back(std::move(mapping));
        return Done{};
      },
      task));
  ASSERT_EQ(mappings.size(), expected.size());
  for (std::size_t i = 0; i < mappings.size(); ++i) {
    EXPECT_EQ(mappings[i].start, expected[i].start);
    EXPECT_EQ(mappings[i].path, expected[i].path);
    EXPECT_EQ(mappings[i].protection, expected[i].protection);
  }
  EXPECT_EQ(gaps.total(), 0U);
}

TEST_F(ProcMemory, SmapsCutOrForeign) {
  const struct {
    const char* name;
    std::string_view text;
    std::size_t mappings;
    std::size_t gaps;
    bool pfn;
  } cases[] = {
      {"none", "", 0, 0, false},
      {"no flags", "1000-2000 r--p 0 0:0 0\nSize: 4 kB\n", 1, 0, false},
      {"flags of the first only", "1000-2000 r--p 0 0:0 0\nVmFlags: rd pf\n2000-3000 r--p 0 0:0 0\n", 2, 0,
       true},
      {"a path like a key", "1000-2000 r--p 0 0:0 7 /VmFlags: io\nVmFlags: pf rd\n", 1, 0, true},
      {"a line that is none", "1000-2000\nVmFlags: io\n1000-2000 r--p 0 0:0 0\nVmFlags: pf\n", 1, 1, true},
      {"letters that begin alike", "1000-2000 r--p 0 0:0 0\nVmFlags: pfx ioo\n", 1, 0, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    GapLog found;
    Task looking = task.with(found);
    MemorySource in(c.text);
    std::size_t mappings = 0;
    bool pfn = false;
    auto parsed = parse_smaps(
        in, 7,
        [&](Mapping&&, VmFlags flags) -> Status {
          if (mappings++ == 0) pfn = flags.pfn;
          EXPECT_FALSE(flags.io);
          return Done{};
        },
        looking);
    EXPECT_TRUE(parsed.has_value());
    EXPECT_EQ(mappings, c.mappings);
    EXPECT_EQ(found.total(), c.gaps);
    EXPECT_EQ(pfn, c.pfn);
  }
}

}  // namespace
}  // namespace ctriage::proc
