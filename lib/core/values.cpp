#include "lib/core/values.h"

#include <fmt/format.h>

#include <limits>
#include <optional>

#include "lib/core/text.h"

namespace ctriage {

namespace {

constexpr std::int64_t kDaySeconds = 86'400;
constexpr std::int64_t kFirstSecond = -62'167'219'200;  // 0000-01-01T00:00:00Z
constexpr std::int64_t kLastSecond = 253'402'300'799;   // 9999-12-31T23:59:59Z

struct Date {
  std::int64_t year;
  unsigned month;
  unsigned day;
};

// The proleptic Gregorian calendar in eras of 400 years (146,097 days) that begin on 1 March; day 0 is
// 1970-01-01.
Date date_of(std::int64_t days) {
  days += 719'468;
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const auto of_era = static_cast<unsigned>(days - era * 146'097);
  const unsigned year = (of_era - of_era / 1'460 + of_era / 36'524 - of_era / 146'096) / 365;
  const unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
  const unsigned month = (5 * of_year + 2) / 153;
  return {std::int64_t{year} + era * 400 + (month >= 10 ? 1 : 0), month < 10 ? month + 3 : month - 9,
          of_year - (153 * month + 2) / 5 + 1};
}

std::int64_t days_of(Date date) {
  const std::int64_t year = date.year - (date.month <= 2 ? 1 : 0);
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<unsigned>(year - era * 400);
  const unsigned of_year = (153 * (date.month > 2 ? date.month - 3 : date.month + 9) + 2) / 5 + date.day - 1;
  return era * 146'097 + std::int64_t{of_era * 365 + of_era / 4 - of_era / 100 + of_year} - 719'468;
}

// Takes `count` digits and then, unless NUL, the character `after` off the front of `text`.
std::optional<unsigned> take_digits(std::string_view& text, std::size_t count, char after) {
  if (text.size() < count + (after != 0 ? 1 : 0)) return std::nullopt;
  const auto number = parse_number<unsigned>(text.substr(0, count));
  text.remove_prefix(count);
  if (after != 0) {
    if (text.front() != after) return std::nullopt;
    text.remove_prefix(1);
  }
  return number;
}

bool parse_epoch(std::string_view text, Timestamp& into) {  // "@-5" or "@253402300800.000000001"
  const std::size_t dot = text.find('.');
  const auto seconds = parse_number<std::int64_t>(text.substr(0, dot));
  if (!seconds) return false;
  std::uint32_t nanoseconds = 0;
  if (dot != std::string_view::npos) {
    const auto fraction = parse_number<std::uint32_t>(text.substr(dot + 1));
    if (!fraction || text.size() - dot - 1 != 9) return false;
    nanoseconds = *fraction;
  }
  into = {*seconds, nanoseconds};
  return true;
}

// A fraction of any length, cut to nanoseconds.
bool take_fraction(std::string_view& text, std::uint32_t& nanoseconds) {
  std::uint32_t scale = 100'000'000;
  std::size_t used = 0;
  for (; used < text.size() && text[used] >= '0' && text[used] <= '9'; ++used) {
    nanoseconds += static_cast<std::uint32_t>(text[used] - '0') * scale;
    scale /= 10;
  }
  text.remove_prefix(used);
  return used > 0;
}

// "Z", "+01:00" or "-08:00", to the end of the text. In seconds east of Greenwich.
std::optional<std::int64_t> parse_offset(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const std::int64_t sign = text[0] == '-' ? -1 : 1;
  text.remove_prefix(1);
  const auto hours = take_digits(text, 2, ':');
  if (!hours || *hours > 23) return std::nullopt;
  const auto minutes = take_digits(text, 2, 0);
  if (!minutes || *minutes > 59) return std::nullopt;
  return sign * std::int64_t{*hours * 3'600 + *minutes * 60};
}

unsigned days_in(std::int64_t year, unsigned month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

void put_digits(std::string& text, std::size_t at, std::size_t count, std::uint64_t value) {
  for (; count > 0; value /= 10) text[at + --count] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::string to_rfc3339(Timestamp at) {
  if (at.seconds < kFirstSecond || at.seconds > kLastSecond) {
    return at.nanoseconds == 0 ? fmt::format("@{}", at.seconds)
                               : fmt::format("@{}.{:09}", at.seconds, at.nanoseconds);
  }
  std::int64_t days = at.seconds / kDaySeconds;
  std::int64_t rest = at.seconds % kDaySeconds;
  if (rest < 0) {
    rest += kDaySeconds;
    --days;
  }
  const Date date = date_of(days);
  // By hand: a file has four of them, a layer a million files.
  std::string text = "0000-00-00T00:00:00.000000000Z";
  put_digits(text, 0, 4, static_cast<std::uint64_t>(date.year));
  put_digits(text, 5, 2, date.month);
  put_digits(text, 8, 2, date.day);
  put_digits(text, 11, 2, static_cast<std::uint64_t>(rest / 3'600));
  put_digits(text, 14, 2, static_cast<std::uint64_t>(rest / 60 % 60));
  put_digits(text, 17, 2, static_cast<std::uint64_t>(rest % 60));
  put_digits(text, 20, 9, at.nanoseconds);
  return text;
}

bool parse_rfc3339(std::string_view text, Timestamp& into) {
  if (!text.empty() && text.front() == '@') return parse_epoch(text.substr(1), into);
  const auto year = take_digits(text, 4, '-');
  const auto month = year ? take_digits(text, 2, '-') : std::nullopt;
  const auto day = month ? take_digits(text, 2, 0) : std::nullopt;
  if (!day || *month < 1 || *month > 12 || *day < 1 || *day > days_in(*year, *month)) return false;
  if (text.empty() || (text.front() != 'T' && text.front() != 't')) return false;
  text.remove_prefix(1);
  const auto hour = take_digits(text, 2, ':');
  const auto minute = hour ? take_digits(text, 2, ':') : std::nullopt;
  const auto second = minute ? take_digits(text, 2, 0) : std::nullopt;
  if (!second || *hour > 23 || *minute > 59 || *second > 60) return false;  // 60: a leap second, RFC 3339 5.7
  std::uint32_t nanoseconds = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    if (!take_fraction(text, nanoseconds)) return false;
  }
  const auto offset = parse_offset(text);
  if (!offset) return false;
  const std::int64_t days = days_of({*year, *month, *day});
  into = {days * kDaySeconds + std::int64_t{*hour * 3'600 + *minute * 60 + *second} - *offset, nanoseconds};
  return true;
}

}  // namespace ctriage
