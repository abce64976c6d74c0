#include "lib/search/strings.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lib/search/place.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ctriage::search {
namespace {

constexpr std::size_t kWordBits = 64;
constexpr std::uint64_t kEvenBits = 0x5555'5555'5555'5555;

struct Classes {  // of 64 bytes, a bit each, the first the lowest
  std::uint64_t printable = 0;
  std::uint64_t zero = 0;
};

#if defined(__SSE2__)
Classes classify_word(const std::byte* bytes) {
  Classes classes;
  for (unsigned part = 0; part < 4; ++part) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + std::size_t{16} * part));
    // Bytes are compared as signed ones: 0x80 and more are below a space.
    const __m128i text = _mm_and_si128(_mm_cmpgt_epi8(block, _mm_set1_epi8(' ' - 1)),
                                       _mm_cmplt_epi8(block, _mm_set1_epi8(0x7f)));
    const __m128i printable = _mm_or_si128(text, _mm_cmpeq_epi8(block, _mm_set1_epi8('\t')));
    const __m128i zero = _mm_cmpeq_epi8(block, _mm_setzero_si128());
    classes.printable |= static_cast<std::uint64_t>(static_cast<std::uint16_t>(_mm_movemask_epi8(printable)))
                         << (16 * part);
    classes.zero |= static_cast<std::uint64_t>(static_cast<std::uint16_t>(_mm_movemask_epi8(zero)))
                    << (16 * part);
  }
  return classes;
}
#else
Classes classify_word(const std::byte* bytes) {
  Classes classes;
  for (unsigned at = 0; at < kWordBits; ++at) {
    const auto c = std::to_integer<unsigned char>(bytes[at]);
    classes.printable |= std::uint64_t{(c >= ' ' && c < 0x7f) || c == '\t'} << at;
    classes.zero |= std::uint64_t{c == 0} << at;
  }
  return classes;
}
#endif

bool is_set(const std::vector<std::uint64_t>& bits, std::size_t at) {
  return (bits[at / kWordBits] >> (at % kWordBits) & 1) != 0;
}

// The first bit that is set from `at` on, below `end`, of those that `mask` of a word leaves; `end`: none.
std::size_t next_set(const std::vector<std::uint64_t>& bits, std::size_t at, std::size_t end,
                     std::uint64_t mask) {
  for (std::size_t word = at / kWordBits; word * kWordBits < end; ++word) {
    std::uint64_t left = bits[word] & mask;
    if (word == at / kWordBits) left &= ~std::uint64_t{0} << (at % kWordBits);
    if (left != 0) return std::min(end, word * kWordBits + static_cast<std::size_t>(std::countr_zero(left)));
  }
  return end;
}

}  // namespace

// One word of bytes beyond the room, that classify() may look at.
StringFinder::StringFinder(StringOptions options, Emit<FoundString> emit, const Task& task)
    : options_(options),
      emit_(std::move(emit)),
      task_(task),
      buffer_(kRoomBytes + kWordBits),
      printable_(kRoomBytes / kWordBits + 1),  // the last one empty
      wide_characters_(printable_.size()),
      starts_(printable_.size()) {
  for (Open& open : wide_) open.encoding = TextEncoding::utf16le;
}

Status StringFinder::enter(MemoryArea&& area) {
  if (area_ == nullptr || area_->space != area.space) {
    if (auto done = finish(); !done) return done;
  }
  area_ = std::make_shared<const MemoryArea>(std::move(area));
  return Done{};
}

Status StringFinder::filled(std::uint64_t address, std::size_t count) {
  if (auto go_on = task_.check(); !go_on) return go_on;
  if (!in_run_ || address != run_end_) {
    if (auto done = finish(); !done) return done;
  }
  if (count == 0) return Done{};
  in_run_ = true;
  run_end_ = address + count;
  address_ = address;
  searched_ += count;
  task_.passed(count);
  classify(count);
  if (options_.ascii) {
    find_starts(printable_, 1);
    scan({printable_, 1, 0, count}, ascii_);
  }
  if (options_.wide) scan_wide(count);
  return hand_over();
}

void StringFinder::classify(std::size_t count) {
  std::memset(buffer_.data() + count, 0xff, kWordBits);  // neither printable nor zero
  words_ = count / kWordBits + 1;
  std::uint64_t printable_before = 0;
  for (std::size_t word = 0; word < words_; ++word) {
    const std::byte* bytes = buffer_.data() + word * kWordBits;
    // The last one may reach beyond what was filled: what an earlier filling left there is not looked at.
    const std::size_t used = std::min(kWordBits, count - word * kWordBits);
    Classes classes = classify_word(bytes);
    if (used < kWordBits) {
      const std::uint64_t mask = (std::uint64_t{1} << used) - 1;
      classes.printable &= mask;
      classes.zero &= mask;
    }
    printable_[word] = classes.printable;
    wide_characters_[word] = classes.printable & (classes.zero >> 1);
    if (word > 0 && (classes.zero & 1) != 0)
      wide_characters_[word - 1] |= printable_before & (std::uint64_t{1} << 63);
    printable_before = classes.printable;
  }
}

// Bits from which so many characters follow each other as a string has at least, or half a word of them.
void StringFinder::find_starts(const Bits& characters, std::size_t step) {
  std::copy_n(characters.begin(), words_, starts_.begin());
  const std::size_t wanted = std::min(options_.at_least, kWordBits / 2);
  for (std::size_t have = 1; have < wanted;) {
    const std::size_t more = std::min({have, wanted - have, kWordBits / 2 / step});
    const std::size_t shift = more * step;
    for (std::size_t word = 0; word < words_; ++word) {
      const std::uint64_t next = word + 1 < words_ ? starts_[word + 1] : 0;
      starts_[word] &= starts_[word] >> shift | next << (kWordBits - shift);
    }
    have += more;
  }
}

void StringFinder::scan(const Row& row, Open& open) {
  if (row.first >= row.end) return;
  const auto take = [&](std::size_t at) {
    for (; at < row.end && is_set(row.characters, at); at += row.step)
      add(open, static_cast<char>(buffer_[at]), address_ + at);
    return at;
  };
  std::size_t after = row.first;
  if (open.is_open()) {
    after = take(after);
    if (after >= row.end) return;
    end(open, address_ + after);
  }
  const std::uint64_t mask = row.step == 1 ? ~std::uint64_t{0} : row.first % 2 == 0 ? kEvenBits : ~kEvenBits;
  for (;;) {
    const std::size_t start = next_set(starts_, after, row.end, mask);
    if (start == row.end) break;
    after = take(start);
    if (after >= row.end) return;
    end(open, address_ + after);
  }
  // At the end there may be fewer, which what follows adds to.
  std::size_t tail = row.end;
  std::size_t at = row.first + (row.end - 1 - row.first) / row.step * row.step;
  for (; at >= after && is_set(row.characters, at); at -= row.step) {
    tail = at;
    if (at < after + row.step) break;
  }
  take(tail);
}

void StringFinder::scan_wide(std::size_t count) {
  // The first byte may be the second one of a character.
  Open& before = wide_[(address_ + 1) & 1];
  if (const auto low = std::exchange(before.low, std::nullopt); low && buffer_[0] == std::byte{0}) {
    add(before, *low, address_ - 1);
  } else if (before.is_open()) {
    end(before, address_);
  }
  find_starts(wide_characters_, 2);
  for (std::size_t first = 0; first < 2; ++first)
    scan({wide_characters_, 2, first, count - 1}, wide_[(address_ + first) & 1]);
  const std::size_t last = count - 1;
  if (is_set(printable_, last)) wide_[(address_ + last) & 1].low = static_cast<char>(buffer_[last]);
}

void StringFinder::add(Open& open, char c, std::uint64_t address) {
  if (open.text.empty()) {
    open.address = address;
    open.area = area_;
  }
  open.text += c;
  if (open.text.size() == kMaxStringCharacters) tell(open, true, address);
}

void StringFinder::end(Open& open, std::uint64_t address) {
  if (open.text.size() >= options_.at_least || (open.continued && !open.text.empty()))
    tell(open, false, address);
  open.text.clear();
  open.continued = false;
}

void StringFinder::tell(Open& open, bool goes_on, std::uint64_t address) {
  FoundString found;
  place_in(*open.area, open.address, found);
  found.encoding = open.encoding;
  found.text = std::exchange(open.text, {});
  found.goes_on = goes_on;
  open.continued = goes_on;
  ++found_;
  told_.emplace_back(address, std::move(found));
}

// In the order in which they ended.
Status StringFinder::hand_over() {
  std::ranges::stable_sort(told_, {}, [](const auto& each) { return each.first; });
  Status done = Done{};
  for (auto& [address, found] : told_) {
    done = emit_(std::move(found));
    if (!done) break;
  }
  told_.clear();
  return done;
}

Status StringFinder::finish() {
  in_run_ = false;
  end(ascii_, run_end_);
  for (Open& open : wide_) {
    open.low.reset();
    end(open, run_end_);
  }
  return hand_over();
}

}  // namespace ctriage::search
