#include <gtest/gtest.h>

#include <vector>

#include "lib/core/cursor.h"
#include "lib/core/hash.h"
#include "lib/core/result.h"

namespace ctriage {
namespace {

constexpr std::string_view kBytes("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 15);

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(ByteCursor, BothOrders) {
  ByteCursor little(bytes_of(kBytes));
  EXPECT_EQ(little.u8(), 0x01);
  EXPECT_EQ(little.u16(), 0x0302);
  EXPECT_EQ(little.u32(), 0x07060504U);
  EXPECT_EQ(little.u64(), 0x0f0e0d0c0b0a0908U);
  EXPECT_TRUE(little.ok());
  EXPECT_TRUE(little.at_end());
  ByteCursor big(bytes_of(kBytes), std::endian::big);
  EXPECT_EQ(big.u8(), 0x01);
  EXPECT_EQ(big.u16(), 0x0203);
  EXPECT_EQ(big.u32(), 0x04050607U);
  EXPECT_EQ(big.u64(), 0x08090a0b0c0d0e0fU);
}

TEST(ByteCursor, EveryPrefixCutShortFailsForGood) {
  for (std::size_t size = 0; size < kBytes.size(); ++size) {
    SCOPED_TRACE(size);
    const std::vector<char> exact(kBytes.begin(), kBytes.begin() + static_cast<std::ptrdiff_t>(size));
    ByteCursor in(std::as_bytes(std::span(exact)));
    in.u8();
    in.u16();
    in.u32();
    in.u64();
    EXPECT_FALSE(in.ok());
    EXPECT_EQ(in.u8(), 0);
    EXPECT_TRUE(in.take(1).empty());
    EXPECT_EQ(in.error("thing").code, Errc::truncated);
  }
}

TEST(ByteCursor, CountsThatWouldWrap) {
  for (const std::uint64_t count : {std::uint64_t{16}, UINT64_MAX, UINT64_MAX - 14, std::uint64_t{1} << 63}) {
    ByteCursor in(bytes_of(kBytes));
    in.u8();
    EXPECT_TRUE(in.take(count).empty());
    EXPECT_FALSE(in.ok());
    EXPECT_EQ(in.error("note").what, "note: ends after byte 1");
  }
  ByteCursor none({});
  EXPECT_TRUE(none.take(0).empty());
  EXPECT_TRUE(none.ok());
}

TEST(ByteCursor, Align) {
  const struct {
    std::uint64_t boundary;
    std::uint64_t offset;
  } cases[] = {{0, 5}, {1, 5}, {4, 8}, {5, 5}, {8, 8}, {15, 15}};
  for (const auto& c : cases) {
    ByteCursor in(bytes_of(kBytes));
    EXPECT_EQ(in.text(5), kBytes.substr(0, 5));
    in.align(c.boundary);
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(in.offset(), c.offset);
  }
  ByteCursor in(bytes_of(kBytes));
  in.u8();
  in.align(UINT64_MAX);
  EXPECT_FALSE(in.ok());
}

TEST(Result, WrongHalfThrows) {
  const Result<int> good(3);
  const Result<int> bad(Error{Errc::io, "no"});
  EXPECT_THROW((void)bad.value(), std::bad_variant_access);
  EXPECT_THROW((void)good.error(), std::bad_variant_access);
  EXPECT_EQ(Result<int>(bad).value_or(7), 7);
  EXPECT_EQ(Error({Errc::io, "no"}).within("outer").what, "outer: no");
}

}  // namespace
}  // namespace ctriage
