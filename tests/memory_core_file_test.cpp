#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ctriage::memory
