#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <random>

#include "lib/memory/core_file.h"
#include "tests/temp_dir.h"

namespace ctriage::memory {
namespace {

std::vector<std::byte> some_bytes(std::size_t count, unsigned seed) {
  std::mt19937 next(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(next());
  return bytes;
}

TEST(CoreFile, DigestIsThatOfTheFile) {
  for (const std::vector<std::size_t>& sizes : {std::vector<std::size_t>{},
                                                {0, 1, 0},
                                                {511 << 10, 512 << 10, 513 << 10},
                                                {5 << 20},
                                                std::vector<std::size_t>(300, 7'001)}) {
    const TempDir dir;
    auto core = CoreFile::create(*Root::open(dir.path()), "core", UINT64_MAX);
    ASSERT_TRUE(core) << core.error().what;
    Sha256 expected;
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      std::vector<std::byte> bytes = some_bytes(sizes[i], static_cast<unsigned>(i));
      ASSERT_TRUE((*core)->write(bytes));
      expected.update(bytes);
      total += bytes.size();
      std::fill(bytes.begin(), bytes.end(), std::byte{0xff});  // it is the caller's again
    }
    const auto digest = (*core)->seal();
    ASSERT_TRUE(digest) << digest.error().what;
    EXPECT_EQ(to_hex(*digest), to_hex(expected.digest()));
    EXPECT_EQ(std::filesystem::file_size(dir / "core"), total);
  }
}

TEST(CoreFile, CanBeLeftInTheMiddle) {
  const TempDir dir;
  auto core = CoreFile::create(*Root::open(dir.path()), "core", 1 << 20);
  ASSERT_TRUE(core);
  Status written = Done{};
  for (int i = 0; i < 8 && written; ++i) written = (*core)->write(some_bytes(400 << 10, 1));
  EXPECT_FALSE(written);  // over its limit, while the hasher is behind
}

TEST(PlacedCore, PiecesInAnyOrder) {
  const TempDir dir;
  GapLog gaps;
  const std::atomic<bool> stop{false};
  const Task task{gaps, stop, [] { return Timestamp{}; }};
  const std::size_t kSize = (3 << 20) + 77;
  std::vector<std::byte> whole(kSize);
  const auto head = some_bytes(5'000, 1);
  const auto early = some_bytes(700, 2);
  const auto late = some_bytes(1 << 20, 3);
  std::ranges::copy(head, whole.begin());
  std::ranges::copy(early, whole.begin() + 6'000);
  std::ranges::copy(late, whole.begin() + (2 << 20));
  auto core = PlacedCore::create(*Root::open(dir.path()), "core", 2 << 20);
  ASSERT_TRUE(core) << core.error().what;
  ASSERT_TRUE(core->write(head));
  ASSERT_TRUE(core->write_at(2 << 20, late));
  ASSERT_TRUE(core->write_at(6'000, early));
  const auto digest = core->seal(kSize, task);
  ASSERT_TRUE(digest) << digest.error().what;
  EXPECT_EQ(std::filesystem::file_size(dir / "core"), kSize);
  Sha256 expected;
  expected.update(whole);
  EXPECT_EQ(to_hex(*digest), to_hex(expected.digest()));
}

TEST(PlacedCore, HolesAreNoBytesOfTheLimit) {
  const TempDir dir;
  auto core = PlacedCore::create(*Root::open(dir.path()), "core", 1 << 20);
  ASSERT_TRUE(core);
  ASSERT_TRUE(core->write_at(1 << 30, some_bytes(1 << 20, 1)));
  const auto over = core->write_at(0, some_bytes(1, 1));
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Errc::full);
  core->file().remove();
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace ctriage::memory
