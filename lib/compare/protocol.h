#pragma once
// The letters of what is asked and answered. Not for other modules.
#include <cstdint>

namespace ctriage::compare {

enum class Word : std::uint8_t {
  describe = 'D',
  list = 'L',
  pages = 'P',
  gaps = 'G',
  go_on = 'N',
  give_up = 'X',
  source = 's',
  coverage = 'v',
  container = 'c',
  item = 'i',
  area = 'a',
  run = 'r',
  gap = 'g',
  end = 'E',
};
constexpr char letter(Word word) { return static_cast<char>(word); }

}  // namespace ctriage::compare
