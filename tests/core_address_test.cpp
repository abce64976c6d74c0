#include <gtest/gtest.h>

#include "lib/core/address.h"

namespace ctriage {
namespace {

TEST(Address, OneFormForAll) {
  const struct {
    std::string_view text;
    std::optional<std::string> canonical;
  } cases[] = {{"203.0.113.7", "203.0.113.7"},
               {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
               {"::ffff:203.0.113.7", "203.0.113.7"},
               {"::ffff:cb00:7107", "203.0.113.7"},
               {"::1", "::1"},
               {"", std::nullopt},
               {"203.0.113", std::nullopt},
               {"203.0.113.7:80", std::nullopt},
               {"[::1]", std::nullopt},
               {std::string_view("1.2.3.4\0x", 9), std::nullopt},
               {"example.com", std::nullopt}};
  for (const auto& c : cases) EXPECT_EQ(canonical_address(c.text), c.canonical) << c.text;
}

TEST(Address, Endpoints) {
  const struct {
    std::string_view text;
    std::string_view address;
    std::string_view port;
  } cases[] = {{"1.2.3.4", "1.2.3.4", ""},
               {"1.2.3.4:80", "1.2.3.4", "80"},
               {"::1", "::1", ""},
               {"[::1]", "::1", ""},
               {"[::1]:80", "::1", "80"},
               {"[::1", "[::1", ""},
               {"[]:", "", ""},
               {":80", "", "80"},
               {"", "", ""}};
  for (const auto& c : cases) {
    const Endpoint end = split_endpoint(c.text);
    EXPECT_EQ(end.address, c.address) << c.text;
    EXPECT_EQ(end.port, c.port) << c.text;
  }
}

TEST(Address, OwnOnes) {
  for (const char* own : {"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"}) EXPECT_TRUE(is_own_address(own));
  for (const char* other : {"10.0.0.1", "128.0.0.1", "fe80::1", "::2"}) EXPECT_FALSE(is_own_address(other));
}

}  // namespace
}  // namespace ctriage
