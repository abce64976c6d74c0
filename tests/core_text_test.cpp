#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "lib/core/text.h"
#include "lib/core/values.h"

namespace ctriage {
namespace {

using namespace std::string_literals;

TEST(Utf8, Tables) {
  const struct {
    std::string text;
    bool valid;
  } cases[] = {
      {"", true},
      {"plain", true},
      {"\xc2\x80", true},
      {"\xdf\xbf", true},
      {"\xe0\xa0\x80", true},
      {"\xed\x9f\xbf", true},
      {"\xee\x80\x80", true},
      {"\xf0\x90\x80\x80", true},
      {"\xf4\x8f\xbf\xbf", true},
      {"\x80", false},
      {"\xbf", false},
      {"\xc0\x80", false},          // overlong NUL
      {"\xc1\xbf", false},          // overlong
      {"\xe0\x9f\xbf", false},      // overlong
      {"\xed\xa0\x80", false},      // a surrogate
      {"\xf0\x8f\xbf\xbf", false},  // overlong
      {"\xf4\x90\x80\x80", false},  // over U+10FFFF
      {"\xf5\x80\x80\x80", false},
      {"\xff", false},
      {"\xc3", false},
      {"\xe2\x82", false},
      {"\xf0\x9f\x98", false},
      {"\xc3(", false},
      {"\xe2\x28\xa1", false},
  };
  for (const auto& c : cases) EXPECT_EQ(is_utf8(c.text), c.valid) << to_base64(c.text);
}

TEST(EscapeTerminal, Tables) {
  const struct {
    std::string text;
    std::string printed;
  } cases[] = {
      {"", ""},
      {"/usr/bin/caf\xc3\xa9 \xf0\x9f\x98\x80", "/usr/bin/caf\xc3\xa9 \xf0\x9f\x98\x80"},
      {"a\nb\tc\rd", "a\\nb\\tc\\x0dd"},
      {"\x1b[31m\x07\x7f\0"s, "\\x1b[31m\\x07\\x7f\\x00"},
      {"back\\slash", "back\\\\slash"},
      {"\\x1b", "\\\\x1b"},
      {"\xc2\x9b"
       "31m",
       "\\u{9b}31m"},
      {"\x9b"
       "31m",
       "\\x9b31m"},
      {"a\xe2\x80\xae"
       "b",
       "a\\u{202e}b"},
      {"\xe2\x80\x8b\xef\xbb\xbf", "\\u{200b}\\u{feff}"},
      {"\xe2\x80\xa8", "\\u{2028}"},
      {"\xf3\xa0\x80\x81", "\\u{e0001}"},
      {"\xff\xfe", "\\xff\\xfe"},
      {"\xe2\x82", "\\xe2\\x82"},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
  };
  for (const auto& c : cases) EXPECT_EQ(escape_terminal(c.text), c.printed);
}

// Whatever comes in: what goes out is UTF-8 without controls, and two different texts never look the same.
TEST(EscapeTerminal, AnyBytesAndBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 2'000; ++round) {
    std::string text(random() % 12, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const std::string printed = escape_terminal(text);
    EXPECT_TRUE(is_utf8(printed));
    std::string back;
    for (std::size_t i = 0; i < printed.size();) {
      EXPECT_GE(static_cast<unsigned char>(printed[i]), 0x20);
      if (printed[i] != '\\') {
        back += printed[i++];
      } else if (printed[i + 1] == 'x') {
        back += static_cast<char>(*parse_number<unsigned>(printed.substr(i + 2, 2), 16));
        i += 4;
      } else if (printed[i + 1] == 'u') {
        const auto end = printed.find('}', i);
        const auto point = *parse_number<unsigned>(printed.substr(i + 3, end - i - 3), 16);
        if (point < 0x800) {
          back += static_cast<char>(0xc0 | point >> 6);
        } else if (point < 0x10000) {
          back += static_cast<char>(0xe0 | point >> 12);
          back += static_cast<char>(0x80 | (point >> 6 & 63));
        } else {
          back += static_cast<char>(0xf0 | point >> 18);
          back += static_cast<char>(0x80 | (point >> 12 & 63));
          back += static_cast<char>(0x80 | (point >> 6 & 63));
        }
        back += static_cast<char>(0x80 | (point & 63));
        i = end + 1;
      } else {
        back += printed[i + 1] == 'n' ? '\n' : printed[i + 1] == 't' ? '\t' : '\\';
        i += 2;
      }
    }
    EXPECT_EQ(back, text);
  }
}

TEST(JsonString, Tables) {
  const struct {
    std::string text;
    std::string json;
  } cases[] = {
      {"", R"("")"},
      {"a\"b\\c/", R"("a\"b\\c/")"},
      {"\n\t\r\x01\x7f\0"s, R"("\n\t\u000d\u0001\u007f\u0000")"},
      {"\xc3\xa9\xe2\x82\xac", R"("\u00e9\u20ac")"},
      {"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", R"("\ud83d\ude00\udbff\udfff")"},
      {"\xff\xc3", R"("\ufffd\ufffd")"},
  };
  for (const auto& c : cases) {
    std::string out = "x";
    append_json_string(out, c.text);
    EXPECT_EQ(out, "x" + c.json);
  }
}

TEST(Base64, Rfc4648AndBack) {
  const struct {
    const char* plain;
    const char* coded;
  } cases[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
               {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& c : cases) {
    EXPECT_EQ(to_base64(c.plain), c.coded);
    EXPECT_EQ(from_base64(c.coded), c.plain);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(from_base64(to_base64(all)), all);
  for (const char* bad :
       {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9", "Zm9-", "====", "=Zg="}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
  }
}

TEST(Numbers, WholeOrNothing) {
  EXPECT_EQ(parse_number<int>("-12"), -12);
  EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(parse_number<std::uint64_t>("ff", 16), 255U);
  for (const char* bad : {"", " 1", "1 ", "+1", "0x1", "18446744073709551616", "-1", "1.0"}) {
    EXPECT_FALSE(parse_number<std::uint64_t>(bad)) << bad;
  }
}

TEST(Fields, Splitting) {
  using Parts = std::vector<std::string_view>;
  EXPECT_EQ(split_fields(""), Parts{});
  EXPECT_EQ(split_fields(" \t "), Parts{});
  EXPECT_EQ(split_fields("  a\tbc  d"), (Parts{"a", "bc", "d"}));
  EXPECT_EQ(split("", ','), Parts{""});
  EXPECT_EQ(split("a,,b,", ','), (Parts{"a", "", "b", ""}));
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Human, Sizes) {
  const struct {
    std::uint64_t bytes;
    const char* text;
  } cases[] = {{0, "0 B"},
               {12, "12 B"},
               {999, "999 B"},
               {1'000, "1.0 KiB"},
               {1'024, "1.0 KiB"},
               {10'188, "9.9 KiB"},
               {10'200, "10 KiB"},
               {38 << 10, "38 KiB"},
               {(std::uint64_t{1} << 20) - 1, "1.0 MiB"},
               {214ULL << 20, "214 MiB"},
               {1'395'864'371, "1.3 GiB"},
               {UINT64_MAX, "16 EiB"}};
  for (const auto& c : cases) EXPECT_EQ(human_size(c.bytes), c.text) << c.bytes;
}

TEST(Human, Durations) {
  const struct {
    std::int64_t seconds;
    const char* text;
  } cases[] = {{0, "0s"},
               {12, "12s"},
               {59, "59s"},
               {60, "1m"},
               {2'460, "41m"},
               {11'520, "3h12m"},
               {86'399, "23h59m"},
               {86'400, "1d"},
               {9 * 86'400, "9d"},
               {-5, "-5s"},
               {INT64_MAX, "106751991167300d"},
               {INT64_MIN, "-106751991167300d"}};
  for (const auto& c : cases) EXPECT_EQ(human_duration(c.seconds), c.text);
}

TEST(Rfc3339, Tables) {
  const struct {
    const char* text;
    std::int64_t seconds;
    std::uint32_t nanoseconds;
    const char* printed;
  } cases[] = {
      {"1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00.000000000Z"},
      {"2026-11-21T19:28:51.000000001Z", 1'795'289'331, 1, "2026-11-21T19:28:51.000000001Z"},
      {"2026-11-21T20:28:51.5+01:00", 1'795'289'331, 500'000'000, "2026-11-21T19:28:51.500000000Z"},
      {"2026-11-21T11:58:51.1234567899-07:30", 1'795'289'331, 123'456'789, "2026-11-21T19:28:51.123456789Z"},
      {"2000-02-29t23:59:60z", 951'868'800, 0, "2000-03-01T00:00:00.000000000Z"},
      {"0001-01-01T00:00:00Z", -62'135'596'800, 0, "0001-01-01T00:00:00.000000000Z"},
      {"0000-01-01T00:00:00Z", -62'167'219'200, 0, "0000-01-01T00:00:00.000000000Z"},
      {"0000-01-01T00:00:00+00:01", -62'167'219'260, 0, "@-62167219260"},
      {"9999-12-31T23:59:59.999999999Z", 253'402'300'799, 999'999'999, "9999-12-31T23:59:59.999999999Z"},
      {"1969-12-31T23:59:59.9Z", -1, 900'000'000, "1969-12-31T23:59:59.900000000Z"},
      {"@253402300800", 253'402'300'800, 0, "@253402300800"},
      {"@-9223372036854775808.000000007", INT64_MIN, 7, "@-9223372036854775808.000000007"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    Timestamp at;
    ASSERT_TRUE(parse_rfc3339(c.text, at));
    EXPECT_EQ(at.seconds, c.seconds);
    EXPECT_EQ(at.nanoseconds, c.nanoseconds);
    EXPECT_EQ(to_rfc3339(at), c.printed);
  }
}

TEST(ParseSize, WholeNumbersAndUnits) {
  const struct {
    const char* text;
    std::optional<std::uint64_t> size;
  } cases[] = {
      {"0", 0},
      {"1048576", 1'048'576},
      {"512M", 512ULL << 20},
      {"8G", 8ULL << 30},
      {"1K", 1'024},
      {"3T", 3ULL << 40},
      {"18446744073709551615", UINT64_MAX},
      {"18014398509481983K", 18'014'398'509'481'983ULL << 10},
      {"16777215T", 16'777'215ULL << 40},
      {"18446744073709551616", std::nullopt},
      {"18014398509481984K", std::nullopt},
      {"16777216T", std::nullopt},
      {"", std::nullopt},
      {"K", std::nullopt},
      {"-1", std::nullopt},
      {"+1", std::nullopt},
      {"1.5G", std::nullopt},
      {"1KK", std::nullopt},
      {"1k", std::nullopt},
      {"1KiB", std::nullopt},
      {"1 K", std::nullopt},
      {" 1", std::nullopt},
      {"1\n", std::nullopt},
  };
  for (const auto& c : cases) EXPECT_EQ(parse_size(c.text), c.size) << c.text;
}

TEST(Counts, Commas) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1'000), "1,000");
  EXPECT_EQ(with_commas(UINT64_MAX), "18,446,744,073,709,551,615");
  EXPECT_EQ(counted(1, "gap", "gaps"), "1 gap");
  EXPECT_EQ(counted(2'000, "gap", "gaps"), "2,000 gaps");
}

TEST(Rfc3339, RefusesTheRest) {
  const std::string whole = "2026-11-21T19:28:51.5+01:00";
  Timestamp at;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_rfc3339(whole.substr(0, size), at)) << size;
  }
  for (const char* bad :
       {"2026-13-21T19:28:51Z", "2026-00-21T19:28:51Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T19:60:00Z", "2026-11-21T19:28:61Z",
        "2026-11-21T19:28:51Z ", "2026-11-21T19:28:51.Z", "2026-11-21T19:28:51+24:00",
        "2026-11-21T19:28:51+01:60", "2026-11-21 19:28:51Z", "-026-11-21T19:28:51Z", "@", "@1.5", "@1x",
        "@9223372036854775808"}) {
    EXPECT_FALSE(parse_rfc3339(bad, at)) << bad;
  }
}

TEST(Rfc3339, AgreesWithTheLibrary) {  // gmtime_r knows the same calendar
  std::mt19937_64 random(7);
  for (int i = 0; i < 5'000; ++i) {
    const auto span = static_cast<std::uint64_t>(253'402'300'799 + 62'167'219'200);
    const auto seconds = static_cast<std::int64_t>(random() % span) - 62'167'219'200;
    const std::time_t when = seconds;
    std::tm parts{};
    ASSERT_NE(::gmtime_r(&when, &parts), nullptr);
    char text[64];
    std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.000000000Z", parts.tm_year + 1900,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    EXPECT_EQ(to_rfc3339({seconds, 0}), text);
    Timestamp back;
    EXPECT_TRUE(parse_rfc3339(text, back));
    EXPECT_EQ(back.seconds, seconds);
  }
}

}  // namespace
}  // namespace ctriage
