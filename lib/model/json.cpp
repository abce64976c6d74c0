#include "lib/model/json.h"

#include <charconv>
#include <iterator>

namespace ctriage {

std::string JsonWriter::hex_text(Hex value) {
  char digits[18] = {'0', 'x'};
  const auto [end, error] = std::to_chars(digits + 2, std::end(digits), value.value, 16);
  return {digits, error == std::errc{} ? end : digits + 2};
}

}  // namespace ctriage
