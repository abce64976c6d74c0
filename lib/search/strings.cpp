#include "lib/search/strings.h"

#include <utility>

#include "lib/search/place.h"

namespace ctriage::search {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

constexpr std::array<bool, 256> kPrintable = [] {
  std::array<bool, 256> table{};
  for (std::size_t c = ' '; c < 0x7f; ++c) table[c] = true;
  table['\t'] = true;
  return table;
}();

}  // namespace

StringFinder::StringFinder(StringOptions options, Emit<FoundString> emit, const Task& task)
    : options_(options), emit_(std::move(emit)), task_(task), buffer_(kBufferBytes) {
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
  in_run_ = true;
  run_end_ = address + count;
  searched_ += count;
  task_.passed(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = std::to_integer<unsigned char>(buffer_[i]);
    const bool printable = kPrintable[byte];
    if (options_.ascii) {
      if (printable) {
        if (auto done = add(ascii_, static_cast<char>(byte), address + i); !done) return done;
      } else if (!ascii_.text.empty() || ascii_.continued) {
        if (auto done = end(ascii_); !done) return done;
      }
    }
    if (!options_.wide) continue;
    // It is the second byte of the one, and the first of the other.
    const std::size_t first = (address + i) & 1U;
    const std::size_t second = 1 - first;
    if (const int low = std::exchange(low_[second], -1); low >= 0 && byte == 0) {
      if (auto done = add(wide_[second], static_cast<char>(low), address + i - 1); !done) return done;
    } else if (!wide_[second].text.empty() || wide_[second].continued) {
      if (auto done = end(wide_[second]); !done) return done;
    }
    if (printable) low_[first] = byte;
  }
  return Done{};
}

Status StringFinder::add(Open& open, char c, std::uint64_t address) {
  if (open.text.empty()) {
    open.address = address;
    open.area = area_;
  }
  open.text += c;
  return open.text.size() < kMaxStringCharacters ? Status(Done{}) : tell(open, true);
}

Status StringFinder::end(Open& open) {
  Status told = Done{};
  if (open.text.size() >= options_.at_least || (open.continued && !open.text.empty()))
    told = tell(open, false);
  open.text.clear();
  open.continued = false;
  return told;
}

Status StringFinder::tell(Open& open, bool goes_on) {
  FoundString found;
  place_in(*open.area, open.address, found);
  found.encoding = open.encoding;
  found.text = std::exchange(open.text, {});
  found.goes_on = goes_on;
  open.continued = goes_on;
  ++found_;
  return emit_(std::move(found));
}

Status StringFinder::finish() {
  in_run_ = false;
  low_ = {-1, -1};
  if (auto done = close(ascii_); !done) return done;
  for (Open& open : wide_) {
    if (auto done = close(open); !done) return done;
  }
  return Done{};
}

}  // namespace ctriage::search
