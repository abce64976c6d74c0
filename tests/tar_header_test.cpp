#include "lib/archive/tar_header.h"

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace ctriage::archive {
namespace {

std::string text_of(const TarBlock& block) {
  return {reinterpret_cast<const char*>(block.data()), block.size()};
}

std::string name_of_parts(std::vector<std::size_t> parts) {
  std::string name;
  for (const std::size_t part : parts) name.append(name.empty() ? "" : "/").append(part, 'n');
  return name;
}

TEST(TarHeader, NamesThatFit) {
  const struct {
    std::string name;
    bool fits;
  } cases[] = {
      {"a", true},
      {name_of_parts({100}), true},
      {name_of_parts({101}), false},
      {name_of_parts({50, 100}), true},
      {name_of_parts({50, 101}), false},
      {name_of_parts({155, 99}), true},   // 255
      {name_of_parts({155, 100}), true},  // 256: still splits
      {name_of_parts({156, 99}), false},
      {name_of_parts({1, 156, 50}), false},
      {name_of_parts({100, 54, 60, 39}), true},
      {"", false},
      {"sp ace", false},
      {"new\nline", false},
      {std::string("nul\0", 4), false},
      {"\xc3\xa4", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto block = make_tar_header(c.name, 1, 2);
    ASSERT_EQ(block.has_value(), c.fits);
    if (!block) continue;
    const auto parsed = parse_tar_header(*block);
    ASSERT_TRUE(parsed && *parsed);
    EXPECT_EQ((*parsed)->name, c.name);
  }
}

TEST(TarHeader, SizesAndTimesComeBack) {
  constexpr std::uint64_t kEightGiB = std::uint64_t{8} << 30;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{512}, kEightGiB - 1,
                                   kEightGiB, kEightGiB + 1, std::uint64_t{1} << 63, UINT64_MAX}) {
    for (const std::int64_t mtime :
         {std::int64_t{0}, std::int64_t{1'795'289'331}, std::int64_t{-1}, INT64_MIN, INT64_MAX}) {
      SCOPED_TRACE(std::to_string(size) + " " + std::to_string(mtime));
      const auto parsed = parse_tar_header(make_tar_header("x", size, mtime).value());
      ASSERT_TRUE(parsed && *parsed);
      EXPECT_EQ((*parsed)->size_bytes, size);
      EXPECT_EQ((*parsed)->mtime_seconds, mtime);
      EXPECT_EQ((*parsed)->mode, 0600u);
      EXPECT_EQ((*parsed)->type, '0');
    }
  }
}

// GNU tar writes the same 512 bytes for the same file.
TEST(TarHeader, SameAsStockTar) {
  std::string dir = "/tmp/ctriage-tar-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  const std::string long_dir = name_of_parts({90, 60});
  std::filesystem::create_directories(dir + "/" + long_dir);
  const struct {
    std::string name;
    std::uint64_t size;
  } cases[] = {{"empty", 0},
               {"one-block", 512},
               {long_dir + "/" + std::string(99, 'f'), 77},
               {"large", (std::uint64_t{8} << 30) - 1}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    std::ofstream(dir + "/" + c.name).close();
    std::filesystem::resize_file(dir + "/" + c.name, c.size);
    const std::string command =
        "tar -C " + dir +
        " --format=ustar --numeric-owner --owner=0 --group=0 --mode=0600 --mtime=@1795289331 -cf - " +
        c.name + " 2>/dev/null | head -c 512";
    FILE* pipe = ::popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string theirs(kTarBlock, '\0');
    EXPECT_EQ(::fread(theirs.data(), 1, theirs.size(), pipe), kTarBlock);
    ::pclose(pipe);
    EXPECT_EQ(text_of(make_tar_header(c.name, c.size, 1'795'289'331).value()), theirs);
  }
  // From 8 GiB on only the GNU format has a form; the field is what counts.
  std::filesystem::resize_file(dir + "/large", std::uint64_t{8} << 30);
  FILE* pipe =
      ::popen(("tar -C " + dir + " --format=gnu -cf - large 2>/dev/null | head -c 512").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string theirs(kTarBlock, '\0');
  EXPECT_EQ(::fread(theirs.data(), 1, theirs.size(), pipe), kTarBlock);
  ::pclose(pipe);
  const auto ours = text_of(make_tar_header("large", std::uint64_t{8} << 30, 0).value());
  EXPECT_EQ(ours.substr(124, 12), theirs.substr(124, 12));
  const auto parsed = parse_tar_header(std::as_bytes(std::span(theirs)));
  ASSERT_TRUE(parsed && *parsed);
  EXPECT_EQ((*parsed)->size_bytes, std::uint64_t{8} << 30);
  EXPECT_EQ((*parsed)->name, "large");
  std::filesystem::remove_all(dir);
}

TEST(TarHeader, EveryPrefixCutIsTruncated) {
  const auto block = make_tar_header("a/b", 5, 7).value();
  for (std::size_t size = 0; size < kTarBlock; ++size) {
    const auto parsed = parse_tar_header(std::span(block).first(size));
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Errc::truncated);
  }
}

TEST(TarHeader, EveryFlippedBitIsSeen) {
  const auto block = make_tar_header("a/b", 5, 7).value();
  for (std::size_t i = 0; i < kTarBlock * 8; ++i) {
    auto flipped = block;
    flipped[i / 8] ^= static_cast<std::byte>(1 << (i % 8));
    const auto parsed = parse_tar_header(flipped);
    const bool same =
        parsed && *parsed &&
        make_tar_header((*parsed)->name, (*parsed)->size_bytes, (*parsed)->mtime_seconds).value() == flipped;
    ASSERT_FALSE(same) << i;
  }
}

TEST(TarHeader, Hostile) {
  const auto good = make_tar_header("a", 5, 7).value();
  const auto with = [&](std::size_t offset, std::string_view text) {
    auto block = good;
    for (std::size_t i = 0; i < text.size(); ++i) block[offset + i] = static_cast<std::byte>(text[i]);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kTarBlock; ++i)
      sum += i >= 148 && i < 156 ? 32 : std::to_integer<std::uint64_t>(block[i]);
    char digits[9];
    ::snprintf(digits, sizeof digits, "%06o", static_cast<unsigned>(sum));
    for (std::size_t i = 0; i < 7; ++i) block[148 + i] = static_cast<std::byte>(digits[i]);
    block[155] = std::byte{' '};
    return block;
  };
  const struct {
    const char* name;
    TarBlock block;
    bool good;
  } cases[] = {
      {"unchanged", with(0, ""), true},
      {"size with a letter", with(124, "0000000000x"), false},
      {"size negative", with(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), false},
      {"size of 65 bits", with(124, std::string_view("\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 12)),
       false},
      {"size of blanks", with(124, "            "), true},
      {"mtime over 63 bits",
       with(136, std::string_view("\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00", 12)), false},
      {"mode over 32 bits", with(100, "\x80\xff\xff\xff\xff\xff\xff\xff"), false},
      {"magic of v7", with(257, std::string_view("\0\0\0\0\0\0\0\0", 8)), false},
      {"GNU magic", with(257, std::string_view("ustar  \0", 8)), true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(parse_tar_header(c.block).has_value(), c.good);
  }
  const auto end = parse_tar_header(TarBlock{});
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
}

TEST(TarHeader, Padding) {
  EXPECT_EQ(tar_padding(0), 0u);
  EXPECT_EQ(tar_padding(1), 511u);
  EXPECT_EQ(tar_padding(512), 0u);
  EXPECT_EQ(tar_padding(UINT64_MAX), 1u);
}

}  // namespace
}  // namespace ctriage::archive
