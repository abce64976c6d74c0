#pragma once
// How patterns become expressions of RE2's. Not for other modules.
#include <re2/re2.h>

#include <cstddef>
#include <string>

#include "lib/search/pattern.h"

namespace ctriage::search {

// Bytes, not text: a class or a dot is one byte. Leftmost-longest, as POSIX has it.
inline RE2::Options re2_options(const Pattern& pattern, std::size_t memory_bytes) {
  RE2::Options options;
  options.set_encoding(RE2::Options::EncodingLatin1);
  options.set_longest_match(true);
  options.set_log_errors(false);
  options.set_case_sensitive(!pattern.ignore_case);
  options.set_max_mem(static_cast<std::int64_t>(memory_bytes));
  return options;
}

inline std::string hex_escape(unsigned char byte) {
  constexpr char kDigits[] = "0123456789abcdef";
  return {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

}  // namespace ctriage::search
