#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/core/hash.h"
#include "lib/core/sha256_states.h"

namespace ctriage {
namespace {

std::vector<std::byte> make_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint32_t word = 2463534242;  // xorshift32
  for (std::byte& byte : bytes) {
    word ^= word << 13;
    word ^= word >> 17;
    word ^= word << 5;
    byte = static_cast<std::byte>(word);
  }
  return bytes;
}

std::string by_openssl(std::span<const std::byte> bytes) {
  Digest digest{};
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
                       EVP_sha256(), nullptr),
            1);
  return to_hex(digest);
}

TEST(Hash, KnownAnswers) {  // FIPS 180-4 examples
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 hash;
  const std::string block(1'000, 'a');
  for (int i = 0; i < 1'000; ++i) {
    hash.update(block);
    if (i % 100 == 0) (void)hash.digest();  // looking does not disturb
  }
  EXPECT_EQ(to_hex(hash.digest()), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  Digest digest{};
  EXPECT_TRUE(parse_digest(sha256_hex("abc"), digest));
  EXPECT_EQ(to_hex(digest), sha256_hex("abc"));
  for (std::string hex : {std::string(), std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'),
                          std::string(64, 'g')}) {
    EXPECT_FALSE(parse_digest(hex, digest)) << hex;
  }
}

// Every size up to some blocks, behind every head that one of them has had before the others came.
TEST(Hash, EachIsWhatItWouldBeAlone) {
  const auto bytes = make_bytes(1'000);
  const std::span<const std::byte> all(bytes);
  for (const std::size_t head : {0U, 1U, 63U, 64U, 128U, 130U, 512U}) {
    for (const std::size_t other : {0U, 1U, 64U, 130U, 512U}) {
      for (std::size_t size = 0; size <= 300; ++size) {
        Sha256 first;
        Sha256 second;
        Sha256 third;
        first.update(all.first(head));
        second.update(all.first(other));
        const auto shared = all.subspan(512, size);
        if (head == 0) {
          Sha256::update_all(std::array{&first, &second, &third}, shared);
          ASSERT_EQ(to_hex(third.digest()), by_openssl(shared)) << other << " " << size;
        } else {
          Sha256::update_all(std::array{&first, &second}, shared);
        }
        ASSERT_EQ(first.size_bytes(), head + size);
        std::vector<std::byte> whole(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(head));
        whole.insert(whole.end(), shared.begin(), shared.end());
        ASSERT_EQ(to_hex(first.digest()), by_openssl(whole)) << head << " " << other << " " << size;
        whole.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(other));
        whole.insert(whole.end(), shared.begin(), shared.end());
        ASSERT_EQ(to_hex(second.digest()), by_openssl(whole)) << head << " " << other << " " << size;
      }
    }
  }
}

TEST(Hash, FeedingGoesOnAfterAllAndAfterADigest) {
  const auto bytes = make_bytes(200'000);
  const std::span<const std::byte> all(bytes);
  Sha256 stream;
  std::size_t at = 0;
  for (std::size_t size = 1; at + size <= all.size(); size = size * 3 + 7) {
    Sha256 file;
    Sha256::update_all(std::array{&stream, &file}, all.subspan(at, size));
    EXPECT_EQ(to_hex(file.digest()), by_openssl(all.subspan(at, size)));
    at += size;
    EXPECT_EQ(to_hex(stream.digest()), by_openssl(all.first(at)));
  }
  stream.update(all.subspan(at));
  EXPECT_EQ(to_hex(stream.digest()), by_openssl(all));
}

// The length field of the padding is 64 bits in two words: past 512 MiB the upper one counts.
TEST(Hash, PastTheFirstWordOfTheLength) {
  const auto block = make_bytes(8 << 20);
  Sha256 first;
  Sha256 second;
  Sha256 third;
  Sha256 alone;
  for (int i = 0; i < 65; ++i) {
    Sha256::update_all(std::array{&first, &second, &third}, block);
    alone.update(block);
  }
  EXPECT_EQ(to_hex(first.digest()), to_hex(alone.digest()));
  EXPECT_EQ(to_hex(second.digest()), to_hex(alone.digest()));
  EXPECT_EQ(to_hex(third.digest()), to_hex(alone.digest()));
}

// Bytes that are promised and bytes that are fed at once, in the order they were given.
TEST(Hash, LateComesToTheSame) {
  const auto bytes = make_bytes(1'000);
  const std::span<const std::byte> all(bytes);
  struct Later final : HashDebtor {
    void settle() override {
      ++settled;
      late->hash().update(owed);
    }
    LateSha256* late = nullptr;
    std::span<const std::byte> owed;
    int settled = 0;
  } later;
  LateSha256 late;
  later.late = &late;
  later.owed = all.subspan(100, 300);
  late.update(all.first(100));
  late.promise(300, later);
  EXPECT_EQ(late.size_bytes(), 400U);
  EXPECT_EQ(later.settled, 0);
  late.update(all.subspan(400));
  EXPECT_EQ(later.settled, 1);
  EXPECT_EQ(to_hex(late.digest()), by_openssl(all));
  EXPECT_EQ(later.settled, 1) << "nothing is owed any more";
}

TEST(Hash, StatesOfTheProcessor) {
  if (!has_sha_extensions()) GTEST_SKIP() << "no SHA extensions";
  std::array<std::uint32_t, 8> a{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  auto b = a;
  std::array<std::byte, 64> abc{};  // FIPS 180-4: "abc", padded to one block
  abc[0] = std::byte{'a'};
  abc[1] = std::byte{'b'};
  abc[2] = std::byte{'c'};
  abc[3] = std::byte{0x80};
  abc[63] = std::byte{24};
  auto c = a;
  b[0] ^= 1;
  compress(std::array{a.data(), b.data(), c.data()}, abc);
  EXPECT_EQ(a[0], 0xba7816bf);
  EXPECT_EQ(a[7], 0xf20015ad);
  EXPECT_NE(b[0], a[0]);
  EXPECT_EQ(c, a);
}

}  // namespace
}  // namespace ctriage
