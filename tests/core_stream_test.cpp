#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/sys.h"

namespace ctriage {
namespace {

class Trickle final : public ByteSource {  // gives `step` bytes at a time
 public:
  Trickle(std::string text, std::size_t step) : text_(std::move(text)), step_(step) {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    const auto part = std::string_view(text_).substr(at_, std::min(step_, into.size()));
    std::copy_n(std::as_bytes(std::span(part)).begin(), part.size(), into.begin());
    at_ += part.size();
    return part.size();
  }

 private:
  std::string text_;
  std::size_t step_;
  std::size_t at_ = 0;
};

struct Line {
  std::uint64_t offset;
  std::string text;  // "!" for one that was too long
  bool operator==(const Line&) const = default;
};
void PrintTo(const Line& line, std::ostream* out) { *out << line.offset << ":" << line.text; }

std::vector<Line> lines_of(ByteSource& in, std::size_t longest, char delimiter = '\n') {
  LineReader reader(in, longest, delimiter);
  std::vector<Line> lines;
  for (;;) {
    std::string_view line;
    const auto more = reader.next(line);
    if (more && !*more) return lines;
    EXPECT_TRUE(more || more.error().code == Errc::limit);
    lines.push_back({reader.offset(), more ? std::string(line) : "!"});
    if (lines.size() > 100) return lines;
  }
}

TEST(LineReader, Tables) {
  const struct {
    std::string text;
    std::vector<Line> lines;
  } cases[] = {
      {"", {}},
      {"\n", {{0, ""}}},
      {"\n\n", {{0, ""}, {1, ""}}},
      {"a", {{0, "a"}}},
      {"a\n", {{0, "a"}}},
      {"a\nbc", {{0, "a"}, {2, "bc"}}},
      {"\nab\n\n", {{0, ""}, {1, "ab"}, {4, ""}}},
      {"12345\nb\n", {{0, "12345"}, {6, "b"}}},
      {"123456\nb\n", {{0, "!"}, {7, "b"}}},
      {"b\n123456", {{0, "b"}, {2, "!"}}},
      {std::string("b\nx") + std::string(200'000, 'x') + "\nc\n", {{0, "b"}, {2, "!"}, {200'004, "c"}}},
      {std::string("a\0b\n", 4), {{0, std::string("a\0b", 3)}}},
  };
  for (const auto& c : cases) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{3}, std::size_t{1} << 20}) {
      SCOPED_TRACE(c.text.substr(0, 20) + " by " + std::to_string(step));
      Trickle in(c.text, step);
      EXPECT_EQ(lines_of(in, 5), c.lines);
    }
  }
  MemorySource nul(std::string_view("a=1\0b\0", 6));
  EXPECT_EQ(lines_of(nul, 5, '\0'), (std::vector<Line>{{0, "a=1"}, {4, "b"}}));
}

TEST(ReadAll, Limits) {
  for (const std::size_t size : {0U, 1U, 16'384U, 16'385U, 100'000U}) {
    const std::string text(size, 'x');
    for (const std::size_t step : {std::size_t{7'000}, std::size_t{1} << 20}) {
      Trickle fits(text, step);
      EXPECT_EQ(read_all(fits, size).value(), text);
      Trickle roomy(text, step);
      EXPECT_EQ(read_all(roomy, size + 1).value(), text);
      if (size == 0) continue;
      Trickle large(text, step);
      EXPECT_EQ(read_all(large, size - 1).error().code, Errc::limit);
    }
  }
}

struct Waiting {  // a task whose stop flag a signal handler could set
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
};

TEST(FdSource, ReadsToTheEnd) {
  Waiting w;
  UniqueFd file(::memfd_create("x", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "0123456789", 10), 10);
  ::lseek(file.get(), 0, SEEK_SET);
  FdSource in(std::move(file), "x", w.task);
  EXPECT_EQ(read_all(in, 100).value(), "0123456789");
}

TEST(FdSource, StopAndDeadline) {
  Waiting w;
  std::byte room[4];
  FdSource in(UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), "zeroes", w.task);
  EXPECT_EQ(in.read(room).value(), 4U);
  w.task.deadline_ns = sys::boottime_ns() - 1;
  EXPECT_EQ(in.read(room).error().code, Errc::timeout);
  w.task.deadline_ns = sys::boottime_ns() + 60'000'000'000;
  EXPECT_TRUE(in.read(room).has_value());
  w.stop = true;
  const auto stopped = in.read(room);
  EXPECT_EQ(stopped.error().code, Errc::stopped);
  EXPECT_EQ(stopped.error().what, "zeroes: asked to stop");
}

TEST(FdSource, ASignalEndsAReadThatWaits) {
  Waiting w;
  ASSERT_TRUE(sys::on_signal(SIGUSR1, [](int) {}).has_value());
  auto pipe = sys::pipe2();
  FdSource in(std::move(pipe->first), "pipe", w.task);
  const pthread_t reader = ::pthread_self();
  std::thread other([&] {
    // A first signal while nothing asks to stop: the read goes on.
    for (int i = 0; i < 40; ++i) {
      sys::sleep_ns(5'000'000);
      if (i == 10) w.stop = true;
      ::pthread_kill(reader, SIGUSR1);
    }
  });
  std::byte room[4];
  const std::int64_t began_ns = sys::boottime_ns();
  EXPECT_EQ(in.read(room).error().code, Errc::stopped);
  EXPECT_GE(sys::boottime_ns() - began_ns, 40'000'000);
  other.join();
}

}  // namespace
}  // namespace ctriage
